// Writes through the page cache and their write-back, with I/O that ends when the test says so.
#include "pagecache/pagecache_test_support.h"

namespace handback::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

FakeFile::Io write_of(std::uint64_t page, std::uint64_t pages, std::uint64_t valid_end) {
  return {page * page_bytes, pages * page_bytes, true, valid_end};
}

TEST(BufferedWrite, OfWholePagesOrBehindTheEndReadsNothing) {
  PageCacheRig rig;
  rig.file->set_bytes(2 * page_bytes, 1);
  EXPECT_EQ(rig.write(0, some_bytes(page_bytes, 5)), IoResult::success(page_bytes));
  EXPECT_EQ(rig.write(3 * page_bytes + 10, some_bytes(20, 6)), IoResult::success(20));
  EXPECT_THAT(rig.file->ios, IsEmpty());
  EXPECT_EQ(rig.file->space.size(), 3 * page_bytes + 30);
  EXPECT_THAT(rig.contents(0, page_bytes), ElementsAreArray(some_bytes(page_bytes, 5)));
  EXPECT_THAT(rig.contents(3 * page_bytes, 100), ElementsAreArray([] {
                std::vector<std::byte> all(30);
                const auto written = some_bytes(20, 6);
                std::copy(written.begin(), written.end(), all.begin() + 10);
                return all;
              }()));
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
}

TEST(BufferedWrite, OfAPartOfAPageReadsItFirst) {
  PageCacheRig rig;
  rig.file->set_bytes(page_bytes, 1);
  const std::vector<std::byte> before = rig.on_device(0, page_bytes);
  EXPECT_EQ(rig.write(100, some_bytes(50, 5)), IoResult::success(50));
  EXPECT_THAT(rig.file->ios, ElementsAre(FakeFile::read_of(0, 1)));
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
  std::vector<std::byte> after = before;
  const auto written = some_bytes(50, 5);
  std::copy(written.begin(), written.end(), after.begin() + 100);
  EXPECT_THAT(rig.on_device(0, page_bytes), ElementsAreArray(after));
}

TEST(BufferedWrite, IsWrittenBackInOneLongRunAndPublishesTheEndToTheByte) {
  PageCacheRig rig(std::uint64_t{64} << 20);
  EXPECT_EQ(rig.write(0, some_bytes(40 * page_bytes + 123, 5)),
            IoResult::success(40 * page_bytes + 123));
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
  EXPECT_THAT(rig.file->ios, ElementsAre(write_of(0, 41, 40 * page_bytes + 123)));
  EXPECT_EQ(rig.file->published, 40 * page_bytes + 123);
  EXPECT_THAT(rig.on_device(40 * page_bytes + 123, page_bytes - 123),
              ElementsAreArray(std::vector<std::byte>(page_bytes - 123)));
}

TEST(BufferedWrite, BehindThePublishedEndIsWrittenBackAfterWhatLiesBelow) {
  PageCacheRig rig;
  EXPECT_EQ(rig.write(9 * page_bytes, some_bytes(page_bytes, 5)), IoResult::success(page_bytes));
  EXPECT_EQ(rig.write(2 * page_bytes, some_bytes(page_bytes, 6)), IoResult::success(page_bytes));
  // Only the page at the end is asked for.
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer, 9 * page_bytes, 10 * page_bytes),
            IoResult{});
  EXPECT_THAT(rig.file->ios,
              ElementsAre(write_of(2, 1, 3 * page_bytes), write_of(9, 1, 10 * page_bytes)));
}

TEST(BufferedWrite, ChangesAPageThatIsOnItsWayAndItGoesAgain) {
  PageCacheRig rig;
  rig.file->holds = true;
  EXPECT_EQ(rig.write(0, some_bytes(page_bytes, 1)), IoResult::success(page_bytes));
  EXPECT_TRUE(rig.file->space.start_write_back(rig.issuer->impl()));
  ASSERT_EQ(rig.file->held.size(), 1U);
  EXPECT_EQ(rig.write(0, some_bytes(page_bytes, 2)), IoResult::success(page_bytes));
  rig.end_all();
  EXPECT_THAT(rig.on_device(0, page_bytes), ElementsAreArray(some_bytes(page_bytes, 1)));
  EXPECT_FALSE(rig.file->space.is_clean());
  rig.file->holds = false;
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
  EXPECT_THAT(rig.on_device(0, page_bytes), ElementsAreArray(some_bytes(page_bytes, 2)));
}

TEST(BufferedWrite, ThatFailsToBeWrittenBackStaysAndIsTriedAgainByAFlushAlone) {
  PageCacheRig rig;
  EXPECT_EQ(rig.write(0, some_bytes(page_bytes, 1)), IoResult::success(page_bytes));
  rig.file->next_result = IoResult::host_failure(EIO);
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult::host_failure(EIO));
  EXPECT_EQ(rig.file->space.errors(), 1U);
  EXPECT_EQ(rig.file->space.last_error(), IoResult::host_failure(EIO));
  EXPECT_EQ(rig.file->published, 0U);
  EXPECT_THAT(rig.contents(0, page_bytes), ElementsAreArray(some_bytes(page_bytes, 1)));
  rig.file->ios.clear();
  EXPECT_FALSE(rig.file->space.start_write_back(rig.issuer->impl()));
  EXPECT_THAT(rig.file->ios, IsEmpty());
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
  EXPECT_THAT(rig.on_device(0, page_bytes), ElementsAreArray(some_bytes(page_bytes, 1)));
  EXPECT_EQ(rig.file->space.errors(), 1U);
}

TEST(BufferedWrite, WaitsWhereTooMuchIsDirtyUntilThatIsWrittenBack) {
  PageCacheRig rig;
  rig.file->holds = true;
  const std::uint64_t length = rig.cache.pages_max() * page_bytes;
  const std::vector<std::byte> from = some_bytes(length, 3);
  Aiocb write;
  rig.start_write(write, 0, from);
  rig.poll();
  EXPECT_EQ(rig.issuer->in_flight(), 1U);
  EXPECT_LE(rig.cache.info().pages_dirty, rig.cache.dirty_pages_max());
  rig.end_all();
  EXPECT_EQ(rig.issuer->in_flight(), 0U);
  EXPECT_EQ(write.result, IoResult::success(static_cast<std::uint32_t>(length)));
  rig.file->holds = false;
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
  EXPECT_TRUE(rig.on_device(0, length) == from);
}

TEST(BufferedWrite, WithNowaitEndsEarlyWhereItWouldWait) {
  PageCacheRig rig;
  rig.file->set_bytes(page_bytes, 1);
  rig.file->holds = true;
  EXPECT_EQ(rig.write(10, some_bytes(5, 1), KiocbFlags::nowait),
            IoResult::failure(Errc::would_block));
  const std::uint64_t length = rig.cache.pages_max() * page_bytes;
  const IoResult some = rig.write(page_bytes, some_bytes(length, 3), KiocbFlags::nowait);
  EXPECT_TRUE(some.ok());
  EXPECT_GT(some.bytes(), 0U);
  EXPECT_LT(some.bytes(), length);
  EXPECT_EQ(rig.file->space.size(), page_bytes + some.bytes());
  rig.end_all();
  rig.file->holds = false;
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
}

TEST(BufferedWrite, SaysNoSpaceBeforeAnythingChanges) {
  PageCacheRig rig;
  rig.file->space_bytes = 2 * page_bytes;
  EXPECT_EQ(rig.write(page_bytes, some_bytes(2 * page_bytes, 3)),
            IoResult::failure(Errc::no_space));
  EXPECT_EQ(rig.file->space.size(), 0U);
  EXPECT_TRUE(rig.file->space.is_clean());
}

TEST(BufferedWrite, ThatIsDsyncEndsWhenItIsDownAndDurable) {
  PageCacheRig rig;
  rig.file->holds = true;
  Aiocb write;
  const std::vector<std::byte> from = some_bytes(100, 1);
  rig.start_write(write, 50, from, KiocbFlags::dsync);
  rig.poll();
  EXPECT_EQ(rig.issuer->in_flight(), 1U);
  EXPECT_EQ(rig.file->made_durable, 0U);
  rig.end_all();
  EXPECT_EQ(write.result, IoResult::success(100));
  EXPECT_EQ(rig.file->made_durable, 1U);
  EXPECT_EQ(rig.file->published, 150U);
}

TEST(BufferedWrite, WithDontcacheIsWrittenBackAndLeavesNothing) {
  PageCacheRig rig;
  EXPECT_EQ(rig.write(0, some_bytes(3 * page_bytes, 1), KiocbFlags::dontcache),
            IoResult::success(3 * page_bytes));
  EXPECT_THAT(rig.on_device(0, 3 * page_bytes), ElementsAreArray(some_bytes(3 * page_bytes, 1)));
  EXPECT_EQ(rig.cache.info().pages, 0U);
}

TEST(BufferedWrite, StandsInLineBehindAWriteOfTheSamePageThatGoesPastTheCache) {
  PageCacheRig rig;
  auto& table = dio_inflight_impl(rig.file->space.ranges);
  RangeEntry direct;
  direct.offset = 0;
  direct.end = page_bytes;
  direct.mode = RangeMode::write;
  ASSERT_EQ(table.enter(direct, true), DioInflight::Impl::Entered::granted);
  Aiocb beside;
  Aiocb other;
  const std::vector<std::byte> from = some_bytes(100, 1);
  rig.start_write(beside, 10, from);
  rig.start_write(other, page_bytes, from);
  rig.poll();
  EXPECT_EQ(rig.issuer->in_flight(), 1U);
  EXPECT_EQ(other.result, IoResult::success(100));
  table.leave(direct);
  rig.poll();
  EXPECT_EQ(beside.result, IoResult::success(100));
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
}

TEST(BufferedWrite, WaitsOnceForDirectWritesThatBeganBeforeTheCache) {
  PageCacheRig rig;
  auto& table = dio_inflight_impl(rig.file->direct);
  RangeEntry direct;
  direct.offset = 50 * page_bytes;
  direct.end = 51 * page_bytes;
  direct.mode = RangeMode::write;
  ASSERT_EQ(table.enter(direct, true), DioInflight::Impl::Entered::granted);
  Aiocb write;
  const std::vector<std::byte> from = some_bytes(100, 1);
  rig.start_write(write, 10, from);
  rig.poll();
  EXPECT_EQ(rig.issuer->in_flight(), 1U);
  table.leave(direct);
  rig.poll();
  EXPECT_EQ(write.result, IoResult::success(100));
  ASSERT_EQ(table.enter(direct, true), DioInflight::Impl::Entered::granted);
  EXPECT_EQ(rig.write(10, from), IoResult::success(100));
  table.leave(direct);
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
}

TEST(BufferedWrite, IsStartedForOthersWhereTheirPagesAreInTheWay) {
  PageCacheRig rig;
  FakeFile other(rig.cache);
  const std::uint64_t length = rig.cache.dirty_pages_max() * page_bytes;
  const std::vector<std::byte> from = some_bytes(length, 3);
  rig.file->holds = true;
  Aiocb full;
  rig.start_write(full, 0, from);
  rig.poll();
  Aiocb small;
  small.prepare_buffered_write(other, 0, std::span(from).first(page_bytes));
  rig.issuer->submit(small);
  rig.end_all();
  EXPECT_EQ(small.result, IoResult::success(page_bytes));
  rig.file->holds = false;
  EXPECT_EQ(rig.file->space.flush_and_wait(*rig.issuer), IoResult{});
  EXPECT_EQ(other.space.flush_and_wait(*rig.issuer), IoResult{});
}

}  // namespace
}  // namespace handback::testing
