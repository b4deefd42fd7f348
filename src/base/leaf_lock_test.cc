#include "base/leaf_lock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace handback::testing {
namespace {

static_assert(!std::is_copy_constructible_v<LeafLock> && !std::is_move_constructible_v<LeafLock>);
static_assert(sizeof(LeafLock) == 4);

TEST(LeafLock, CanBeTakenAgainAfterItWasReleased) {
  LeafLock lock;
  for (int i = 0; i < 1000; ++i)
    const std::lock_guard guard(lock);
}

// Two counters that are not atomic: a lost increment, or a moment in which they differ, shows two
// holders.
TEST(LeafLock, HasOneHolderAtATimeUnderContention) {
  constexpr unsigned thread_count = 4;
  constexpr unsigned rounds = 20'000;
  LeafLock lock;
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::atomic<unsigned> torn{0};
  std::atomic<unsigned> ready{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < thread_count; ++i) {
    threads.emplace_back([&] {
      ready.fetch_add(1);
      while (ready.load() != thread_count)
        std::this_thread::yield();
      for (unsigned round = 0; round < rounds; ++round) {
        const std::lock_guard guard(lock);
        if (first != second) torn.fetch_add(1);
        ++first;
        ++second;
      }
    });
  }
  for (auto& thread : threads)
    thread.join();
  EXPECT_EQ(torn.load(), 0U);
  EXPECT_EQ(first, std::uint64_t{thread_count} * rounds);
  EXPECT_EQ(second, std::uint64_t{thread_count} * rounds);
}

// The holder yields under the lock, so that the others run out of spins and sleep. One that is not
// woken again hangs the test.
TEST(LeafLock, WakesEveryoneWhoSleptBehindAHolderThatWasPreempted) {
  constexpr unsigned thread_count = 4;
  constexpr unsigned rounds = 200;
  LeafLock lock;
  unsigned counter = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < thread_count; ++i) {
    threads.emplace_back([&] {
      for (unsigned round = 0; round < rounds; ++round) {
        lock.lock();
        const unsigned seen = counter;
        for (int yields = 0; yields < 3; ++yields)
          std::this_thread::yield();
        counter = seen + 1;
        lock.unlock();
      }
    });
  }
  for (auto& thread : threads)
    thread.join();
  EXPECT_EQ(counter, thread_count * rounds);
}

// What one holder wrote, the next one sees (ThreadSanitizer checks the ordering, too).
TEST(LeafLock, HandsWhatWasWrittenUnderItToTheNextHolder) {
  LeafLock lock;
  std::vector<int> list;
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) {
      const std::lock_guard guard(lock);
      list.push_back(i);
    }
  });
  std::size_t longest = 0;
  while (longest < 1000) {
    const std::lock_guard guard(lock);
    ASSERT_GE(list.size(), longest);
    longest = list.size();
    if (longest != 0) {
      ASSERT_EQ(list.back(), static_cast<int>(longest) - 1);
    }
  }
  other.join();
}

}  // namespace
}  // namespace handback::testing
