#include "issuer/slab_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace handback::testing {
namespace {

constexpr std::size_t record_bytes = 200;  // Not a multiple of the alignment.
using Pool = SlabPool<record_bytes>;

std::vector<void*> take(Pool& pool, unsigned count) {
  std::vector<void*> records;
  for (unsigned i = 0; i < count; ++i)
    records.push_back(pool.take());
  return records;
}

TEST(SlabPool, GivesRecordsThatDoNotOverlapAndStartACacheLine) {
  Pool pool(3);
  const std::vector<void*> records = take(pool, 12);
  EXPECT_EQ(std::set<void*>(records.begin(), records.end()).size(), 12U);
  for (unsigned i = 0; i < records.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(records[i]) % 64, 0U);
    std::memset(records[i], static_cast<int>(i), record_bytes);
  }
  for (unsigned i = 0; i < records.size(); ++i) {
    const auto* bytes = static_cast<const unsigned char*>(records[i]);
    for (std::size_t at = 0; at < record_bytes; ++at)
      ASSERT_EQ(bytes[at], i);
  }
}

TEST(SlabPool, CountsEachGrowthAndDoubles) {
  Pool pool(4);
  EXPECT_EQ(pool.growths(), 0U);
  take(pool, 4);
  EXPECT_EQ(pool.growths(), 0U);
  take(pool, 1);  // 4 more.
  EXPECT_EQ(pool.growths(), 1U);
  take(pool, 3);
  EXPECT_EQ(pool.growths(), 1U);
  take(pool, 1);  // 8 more.
  EXPECT_EQ(pool.growths(), 2U);
  take(pool, 7);
  EXPECT_EQ(pool.growths(), 2U);
  take(pool, 1);
  EXPECT_EQ(pool.growths(), 3U);
}

TEST(SlabPool, DoesNotGrowWhileRecordsComeBack) {
  Pool pool(2);
  for (int round = 0; round < 1000; ++round) {
    void* first = pool.take();
    void* second = pool.take();
    ASSERT_NE(first, second);
    pool.give_back(first);
    pool.give_back(second);
  }
  EXPECT_EQ(pool.growths(), 0U);
}

TEST(SlabPool, TakesWhatOtherThreadsGaveBackBeforeItGrows) {
  Pool pool(8);
  const std::vector<void*> records = take(pool, 8);
  std::thread([&] {
    for (void* record : records)
      pool.give_back(record);
  }).join();
  const std::vector<void*> again = take(pool, 8);
  EXPECT_EQ(std::set<void*>(again.begin(), again.end()),
            std::set<void*>(records.begin(), records.end()));
  EXPECT_EQ(pool.growths(), 0U);
  take(pool, 1);
  EXPECT_EQ(pool.growths(), 1U);
}

// Each record goes to another thread and back many times; two holders would spoil each other's
// mark.
TEST(SlabPool, GivesEachRecordToOneHolderWhileThreadsGiveBackAtOnce) {
  constexpr unsigned thread_count = 3;
  constexpr unsigned rounds = 2'000;
  struct Lane {
    std::atomic<void*> handed_over{nullptr};
    std::atomic<unsigned> spoilt{0};
  };
  Pool pool(thread_count * 2);
  std::vector<Lane> lanes(thread_count);
  std::vector<std::thread> threads;
  for (Lane& lane : lanes) {
    threads.emplace_back([&pool, &lane] {
      for (unsigned round = 0; round < rounds; ++round) {
        void* record = nullptr;
        while ((record = lane.handed_over.exchange(nullptr, std::memory_order_acquire)) == nullptr)
          std::this_thread::yield();
        void* mark = nullptr;
        std::memcpy(&mark, static_cast<std::byte*>(record) + 64, sizeof mark);
        if (mark != &lane) lane.spoilt.fetch_add(1);
        pool.give_back(record);
      }
    });
  }
  std::vector<unsigned> handed(thread_count, 0);
  for (unsigned left = thread_count * rounds; left != 0;) {
    bool handed_any = false;
    for (unsigned i = 0; i < thread_count; ++i) {
      if (handed[i] == rounds || lanes[i].handed_over.load(std::memory_order_relaxed) != nullptr)
        continue;
      void* record = pool.take();
      void* mark = &lanes[i];
      std::memcpy(static_cast<std::byte*>(record) + 64, &mark, sizeof mark);
      lanes[i].handed_over.store(record, std::memory_order_release);
      ++handed[i];
      --left;
      handed_any = true;
    }
    if (!handed_any) std::this_thread::yield();
  }
  for (auto& thread : threads)
    thread.join();
  for (const Lane& lane : lanes)
    EXPECT_EQ(lane.spoilt.load(), 0U);
  // One handed over and one on its way back per thread are all there can be.
  EXPECT_EQ(pool.growths(), 0U);
}

}  // namespace
}  // namespace handback::testing
