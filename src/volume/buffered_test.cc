// Buffered I/O of a volume's files, and its agreement with direct I/O on the same file.
#include <array>
#include <chrono>
#include <string_view>

#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

using ::testing::ElementsAreArray;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

struct Buffered : VolumeFixture {
  using VolumeFixture::VolumeFixture;

  IoResult put(VolumeFile& file, std::uint64_t offset, std::span<const std::byte> from,
               KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_buffered_write(file, offset, from, flags);
    const IoResult result = issuer->run(aiocb);
    last_offset = aiocb.ki_pos;
    last_route = aiocb.route;
    return result;
  }
  IoResult get_into(VolumeFile& file, std::uint64_t offset, std::span<std::byte> to,
                    KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_buffered_read(file, offset, to, flags);
    const IoResult result = issuer->run(aiocb);
    last_route = aiocb.route;
    last_reason = aiocb.route_reason;
    return result;
  }
  std::vector<std::byte> get(VolumeFile& file, std::uint64_t offset, std::size_t length) {
    std::vector<std::byte> to(length);
    const IoResult result = get_into(file, offset, to);
    EXPECT_TRUE(result.ok()) << describe(result);
    to.resize(result.bytes());
    return to;
  }
  [[nodiscard]] PageCacheInfo cache() const { return volume->info().page_cache; }
};

std::vector<std::byte> zeros(std::size_t length) {
  return std::vector<std::byte>(length);
}

TEST(Buffered, WritesAndReadsBytesOfAnyAlignment) {
  Buffered rig;
  auto file = rig.create("/log");
  EXPECT_EQ(rig.put(*file, 0, bytes("hello")), IoResult::success(5));
  EXPECT_EQ(rig.put(*file, 5, bytes(", world")), IoResult::success(7));
  EXPECT_EQ(file->size(), 12U);
  EXPECT_THAT(rig.get(*file, 0, 100), ElementsAreArray(bytes("hello, world")));
  EXPECT_THAT(rig.get(*file, 7, 3), ElementsAreArray(bytes("wor")));
  EXPECT_THAT(rig.get(*file, 12, 3), ElementsAreArray(zeros(0)));
}

TEST(Buffered, WritesSurviveAnFsyncAndAPowerCut) {
  Buffered rig;
  auto file = rig.create("/log");
  const AlignedBuffer data = pattern(20'000, 1);
  const auto part = data.span().first(12'345);
  EXPECT_EQ(rig.put(*file, 77, part), IoResult::success(12'345));
  must(file->fsync(*rig.issuer));
  must(rig.volume->sync(*rig.issuer));
  file.reset();
  rig.kill();
  rig.open();
  file = rig.reopen("/log");
  EXPECT_EQ(file->size(), 77U + 12'345U);
  EXPECT_THAT(rig.get(*file, 77, 20'000), ElementsAreArray(part));
  EXPECT_THAT(rig.get(*file, 0, 77), ElementsAreArray(zeros(77)));
}

TEST(Buffered, WritesAreWrittenBackWhenTheVolumeIsClosedAfterItsHandles) {
  Buffered rig;
  auto file = rig.create("/log");
  EXPECT_EQ(rig.put(*file, 0, bytes("left behind")), IoResult::success(11));
  file.reset();
  EXPECT_EQ(must(rig.volume->stat("/log")).size_bytes, 11U);
  rig.close();
  rig.open();
  file = rig.reopen("/log");
  EXPECT_THAT(rig.get(*file, 0, 100), ElementsAreArray(bytes("left behind")));
}

TEST(Buffered, DirectReadsSeeWhatIsInTheCacheOnly) {
  Buffered rig;
  auto file = rig.create("/f");
  const AlignedBuffer data = pattern(3 * block, 2);
  EXPECT_EQ(rig.put(*file, 0, data.span()), IoResult::success(3 * block));
  EXPECT_THAT(rig.contents(*file, block, block),
              ElementsAreArray(data.span().subspan(block, block)));
}

TEST(Buffered, DirectReadsSeeTheEndThatIsInTheCacheOnlyAndTheHoleBelowIt) {
  Buffered rig;
  auto file = rig.create("/f");
  EXPECT_EQ(rig.put(*file, 5 * block, bytes("far behind")), IoResult::success(10));
  EXPECT_THAT(rig.contents(*file, block, 2 * block), ElementsAreArray(zeros(2 * block)));
}

TEST(Buffered, DirectWritesAreWhatBufferedReadsFind) {
  Buffered rig;
  auto file = rig.create("/f");
  const AlignedBuffer before = pattern(4 * block, 3);
  const AlignedBuffer after = pattern(block, 4);
  EXPECT_EQ(rig.put(*file, 0, before.span()), IoResult::success(4 * block));
  EXPECT_EQ(rig.write(*file, block, after.span()), IoResult::success(block));
  EXPECT_THAT(rig.get(*file, block, block), ElementsAreArray(after.span()));
  EXPECT_THAT(rig.get(*file, 2 * block, block),
              ElementsAreArray(before.span().subspan(2 * block, block)));
  // And it is not undone by a write-back of what was dirty before.
  must(file->fsync(*rig.issuer));
  EXPECT_THAT(rig.contents(*file, block, block), ElementsAreArray(after.span()));
}

TEST(Buffered, AHandleWithoutTheCacheRefusesBufferedRequests) {
  Buffered rig;
  rig.close();
  rig.open({.page_cache_bytes_max = 0});
  auto file = rig.create("/f");
  EXPECT_EQ(rig.put(*file, 0, bytes("x")),
            IoResult::failure(Errc::not_supported, IoDetail::flag_not_direct));
}

TEST(Buffered, ASecondReadIsAHitAndTouchesNoDevice) {
  Buffered rig;
  auto file = rig.create("/f");
  const AlignedBuffer data = pattern(block, 5);
  EXPECT_EQ(rig.write(*file, 0, data.span()), IoResult::success(block));
  EXPECT_THAT(rig.get(*file, 0, block), ElementsAreArray(data.span()));
  const PageCacheInfo first = rig.cache();
  EXPECT_EQ(first.misses, 1U);
  EXPECT_EQ(first.pages_read, 1U);
  EXPECT_THAT(rig.get(*file, 100, 200), ElementsAreArray(data.span().subspan(100, 200)));
  EXPECT_EQ(rig.cache().misses, 1U);
  EXPECT_EQ(rig.cache().pages_read, 1U);
}

TEST(Buffered, TruncationTakesTheCachedTail) {
  Buffered rig;
  auto file = rig.create("/f");
  const AlignedBuffer data = pattern(3 * block, 6);
  EXPECT_EQ(rig.put(*file, 0, data.span()), IoResult::success(3 * block));
  must(file->truncate(*rig.issuer, block + 100));
  EXPECT_EQ(file->size(), block + 100);
  must(file->truncate(*rig.issuer, 2 * block));
  EXPECT_THAT(rig.get(*file, block, 100), ElementsAreArray(data.span().subspan(block, 100)));
  EXPECT_THAT(rig.get(*file, block + 100, block), ElementsAreArray(zeros(block - 100)));
}

TEST(Buffered, PreallocationThatExtendsDoesNotCutWhatIsInTheCacheOnly) {
  Buffered rig;
  auto file = rig.create("/f");
  EXPECT_EQ(rig.put(*file, 5 * block, bytes("far behind")), IoResult::success(10));
  must(file->preallocate(*rig.issuer, 0, 2 * block, {.extend_size = true}));
  EXPECT_EQ(file->size(), 5 * block + 10);
  EXPECT_THAT(rig.get(*file, 5 * block, 100), ElementsAreArray(bytes("far behind")));
}

TEST(Buffered, WhatWasCutOffIsNotWrittenBackAfterwards) {
  Buffered rig;
  auto file = rig.create("/f");
  const AlignedBuffer data = pattern(block, 8);
  // More than can be on their way at once: some wait for a record.
  std::array<Aiocb, 12> writes;
  for (std::size_t i = 0; i < writes.size(); ++i) {
    writes[i].prepare_buffered_write(*file, 2 * i * block, data.span(), KiocbFlags::dsync);
    rig.issuer->submit(writes[i]);
  }
  must(file->truncate(*rig.issuer, 100));
  while (rig.issuer->in_flight() != 0)
    rig.issuer->wait();
  EXPECT_EQ(file->size(), 100U);
  must(file->truncate(*rig.issuer, 30 * block));
  EXPECT_THAT(rig.contents(*file, block, 29 * block), ElementsAreArray(zeros(29 * block)));
}

TEST(Buffered, PunchedHolesReadAsZerosFromTheCacheToo) {
  Buffered rig;
  auto file = rig.create("/f");
  const AlignedBuffer data = pattern(4 * block, 7);
  EXPECT_EQ(rig.put(*file, 0, data.span()), IoResult::success(4 * block));
  must(file->punch(*rig.issuer, block - 10, block + 20));
  EXPECT_THAT(rig.get(*file, block - 10, block + 20), ElementsAreArray(zeros(block + 20)));
  EXPECT_THAT(rig.get(*file, 0, block - 10), ElementsAreArray(data.span().first(block - 10)));
  EXPECT_THAT(rig.get(*file, 2 * block + 10, block),
              ElementsAreArray(data.span().subspan(2 * block + 10, block)));
}

TEST(Buffered, AppendsGoToTheEndThatBufferedWritesMade) {
  Buffered rig;
  auto file = rig.create("/f");
  EXPECT_EQ(rig.put(*file, 0, bytes("abc"), KiocbFlags::append), IoResult::success(3));
  EXPECT_EQ(rig.put(*file, 0, bytes("defg"), KiocbFlags::append), IoResult::success(4));
  EXPECT_EQ(rig.last_offset, 3U);
  EXPECT_THAT(rig.get(*file, 0, 100), ElementsAreArray(bytes("abcdefg")));
}

TEST(Buffered, ADsyncWriteIsDurableWhenItEnds) {
  Buffered rig;
  auto file = rig.create("/f");
  must(rig.volume->sync(*rig.issuer));
  EXPECT_EQ(rig.put(*file, 10, bytes("durable"), KiocbFlags::dsync), IoResult::success(7));
  EXPECT_EQ(rig.cache().pages_dirty, 0U);
  file.reset();
  rig.kill();
  rig.open();
  file = rig.reopen("/f");
  EXPECT_THAT(rig.get(*file, 10, 100), ElementsAreArray(bytes("durable")));
}

// Hits end while they are submitted, so that nobody ever sleeps here.
TEST(Buffered, WhatIsOldIsWrittenBackBesideBlockingReadsThatAllHit) {
  Buffered rig;
  rig.close();
  rig.open({.commit_interval_ms = 1});
  auto file = rig.create("/f");
  EXPECT_EQ(rig.put(*file, 0, bytes("old")), IoResult::success(3));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (rig.cache().pages_dirty != 0 && std::chrono::steady_clock::now() < until)
    EXPECT_THAT(rig.get(*file, 0, 3), ElementsAreArray(bytes("old")));
  EXPECT_EQ(rig.cache().pages_dirty, 0U);
}

}  // namespace
}  // namespace handback::testing
