#include <handback/coroutine.h>

#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

Task<IoResult> write_then_read(Issuer& issuer, File& file, std::span<const std::byte> from,
                               std::span<std::byte> to) {
  const IoResult written = co_await async_write(issuer, file, 0, from, KiocbFlags::dsync);
  if (!written.ok()) co_return written;
  co_return co_await async_read(issuer, file, 0, to);
}

TEST(Coroutine, WritesDurablyAndReadsBack) {
  VolumeFixture fixture;
  auto file = fixture.create("/a");
  const AlignedBuffer data = pattern(8192, 1);
  AlignedBuffer back(8192);
  EXPECT_EQ(write_then_read(*fixture.issuer, *file, data.span(), back.span()).run(*fixture.issuer),
            IoResult::success(8192));
  EXPECT_EQ(bytes_of(back.span()), bytes_of(data.span()));
}

Task<IoResult> write_then_read_buffered(Issuer& issuer, File& file, std::span<const std::byte> from,
                                        std::span<std::byte> to) {
  const IoResult written = co_await async_buffered_write(issuer, file, 3, from, KiocbFlags::dsync);
  if (!written.ok()) co_return written;
  co_return co_await async_buffered_read(issuer, file, 3, to);
}

TEST(Coroutine, WritesAndReadsThroughTheCache) {
  VolumeFixture fixture;
  auto file = fixture.create("/a");
  const AlignedBuffer data = pattern(1000, 1);
  std::vector<std::byte> back(1000);
  EXPECT_EQ(write_then_read_buffered(*fixture.issuer, *file, data.span().first(1000), back)
                .run(*fixture.issuer),
            IoResult::success(1000));
  EXPECT_EQ(back, bytes_of(data.span().first(1000)));
}

TEST(Coroutine, GetsErrorsAsValues) {
  VolumeFixture fixture;
  auto file = fixture.create("/a");
  AlignedBuffer back(8192);
  EXPECT_EQ(write_then_read(*fixture.issuer, *file, back.span().first(100), back.span())
                .run(*fixture.issuer),
            IoResult::failure(Errc::invalid, IoDetail::length_unaligned));
}

Task<int> nothing(int value) {
  co_return value;
}

Task<int> sum_in_a_loop(int rounds) {
  int sum = 0;
  for (int i = 0; i < rounds; ++i)
    sum += co_await nothing(1);
  co_return sum;
}

TEST(Coroutine, AMillionChildrenThatEndAtOnceNeedNoStack) {
  auto issuer = must(Issuer::create());
  EXPECT_EQ(sum_in_a_loop(1'000'000).run(*issuer), 1'000'000);
}

Task<std::uint64_t> read_in_a_loop(Issuer& issuer, File& file, std::span<std::byte> to,
                                   int rounds) {
  std::uint64_t bytes = 0;
  for (int i = 0; i < rounds; ++i)
    bytes += (co_await async_read(issuer, file, 0, to)).bytes();
  co_return bytes;
}

TEST(Coroutine, ManyRunAtOnceOnOneIssuer) {
  VolumeFixture fixture;
  auto file = fixture.create("/a");
  const AlignedBuffer data = pattern(4096, 1);
  ASSERT_TRUE(fixture.write(*file, 0, data.span()).ok());
  std::vector<AlignedBuffer> buffers;
  std::vector<Task<std::uint64_t>> tasks;
  for (int i = 0; i < 64; ++i) {
    buffers.emplace_back(4096);
    tasks.push_back(read_in_a_loop(*fixture.issuer, *file, buffers.back().span(), 1000));
    tasks.back().start();
  }
  while (fixture.issuer->wait() != 0) {
  }
  for (auto& task : tasks) {
    ASSERT_TRUE(task.done());
    EXPECT_EQ(task.result(), 4096U * 1000);
  }
}

}  // namespace
}  // namespace handback::testing
