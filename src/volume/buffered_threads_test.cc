// Buffered and direct I/O, truncations and holes on one file from several threads: everything ends,
// and no read sees bytes that nobody wrote. HB_CACHE_ROUNDS=N sets the rounds.
#include <array>
#include <atomic>
#include <thread>

#include "base/base_test_support.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

// Each page that is written holds one number, over and over; zero is a page that was never written,
// or was taken.
void fill(std::span<std::byte> page, std::uint64_t number) {
  for (std::size_t at = 0; at < page.size(); at += sizeof number)
    std::memcpy(page.data() + at, &number, sizeof number);
}

bool is_whole(std::span<const std::byte> page) {
  for (std::size_t at = 8; at + 8 <= page.size(); at += 8) {
    if (std::memcmp(page.data() + at, page.data(), 8) != 0) return false;
  }
  return true;
}

class BufferedThreads : public ::testing::TestWithParam<CacheCase> {};

TEST_P(BufferedThreads, AgreeOnWholePagesWhateverTheyDoToOneFile) {
  VolumeFixture fixture(MemoryDeviceOptions{
      .size_bytes = 32 << 20, .volatile_cache = GetParam().volatile_cache, .fua = GetParam().fua});
  fixture.close();
  fixture.open({.commit_interval_ms = 2, .page_cache_bytes_max = 1 << 20});
  constexpr std::uint64_t pages = 400;
  constexpr unsigned thread_count = 3;
  const std::uint64_t rounds = number_from_environment("HB_CACHE_ROUNDS", 600);
  const std::uint64_t seed = number_from_environment("HB_SEED", 1);
  std::atomic<std::uint64_t> torn{0};
  std::atomic<std::uint64_t> failures{0};
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < thread_count; ++index) {
    threads.emplace_back([&, index] {
      std::mt19937_64 random(seed * 100 + index);
      auto issuer = must(Issuer::create());
      auto file = must(fixture.volume->open_file(*issuer, "/f", {.create = true}));
      std::array<AlignedBuffer, 4> buffers{AlignedBuffer(4 * block), AlignedBuffer(4 * block),
                                           AlignedBuffer(4 * block), AlignedBuffer(4 * block)};
      for (std::uint64_t round = 0; round < rounds; ++round) {
        std::array<Aiocb, 4> requests;
        std::array<bool, 4> reads{};
        for (std::size_t i = 0; i < requests.size(); ++i) {
          const std::uint64_t page = random() % pages;
          const std::size_t length = (1 + random() % 4) * block;
          const auto memory = buffers[i].span().first(length);
          const std::uint64_t number = (round * thread_count + index) * 4 + i + 1;
          switch (random() % 4) {
            case 0:
              requests[i].prepare_buffered_read(*file, page * block, memory);
              reads[i] = true;
              break;
            case 1:
              requests[i].prepare_read(*file, page * block, memory);
              reads[i] = true;
              break;
            case 2:
              fill(memory, number);
              requests[i].prepare_buffered_write(
                  *file, page * block, memory,
                  random() % 8 == 0 ? KiocbFlags::dsync : KiocbFlags::none);
              break;
            default:
              fill(memory, number);
              requests[i].prepare_write(*file, page * block, memory);
              break;
          }
          issuer->submit(requests[i]);
        }
        if (random() % 16 == 0) must(file->truncate(*issuer, random() % pages * block));
        if (random() % 16 == 0) must(file->punch(*issuer, random() % pages * block, 8 * block));
        if (random() % 32 == 0) must(file->fsync(*issuer));
        if (random() % 64 == 0) must(fixture.volume->sync(*issuer));
        while (issuer->in_flight() != 0)
          issuer->wait();
        for (std::size_t i = 0; i < requests.size(); ++i) {
          if (!requests[i].result.ok()) ++failures;
          // Of buffered reads each page is whole. Direct ones overlap direct writes as they like.
          if (!reads[i] || has(requests[i].ki_flags, KiocbFlags::direct)) continue;
          for (std::uint64_t at = 0; at + block <= requests[i].result.bytes(); at += block)
            torn += is_whole(buffers[i].span().subspan(at, block)) ? 0U : 1U;
        }
      }
      file.reset();
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(failures, 0U) << "HB_SEED=" << seed;
  EXPECT_LE(fixture.volume->info().page_cache.memory_bytes, std::uint64_t{1} << 20);
  fixture.close();
  fixture.open();
  // What the cache said last is what is there.
  auto file = fixture.reopen("/f");
  AlignedBuffer buffer(block);
  for (std::uint64_t at = 0; at < file->size(); at += block) {
    ASSERT_TRUE(fixture.read(*file, at, buffer.span()).ok());
    EXPECT_TRUE(is_whole(buffer.span())) << "page " << at / block << ", HB_SEED=" << seed;
  }
  EXPECT_EQ(torn, 0U) << "HB_SEED=" << seed;
}

INSTANTIATE_TEST_SUITE_P(OnEachCache, BufferedThreads,
                         ::testing::Values(CacheCase{"WriteThrough", false},
                                           CacheCase{"Volatile", true},
                                           CacheCase{"VolatileWithFua", true, true}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace handback::testing
