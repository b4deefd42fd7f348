// Reads through the page cache, with I/O that ends when the test says so.
#include "pagecache/pagecache_test_support.h"

namespace handback::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

constexpr IoResult would_block = IoResult::failure(Errc::would_block);

// An issuer of somebody's own: a kiocb with its wait entry.
struct OwnRead : Kiocb {
  OwnRead(PageCacheRig& rig, std::uint64_t offset, std::span<std::byte> to,
          KiocbFlags flags = KiocbFlags::none)
      : segment{to.data(), to.size()}, file(*rig.file) {
    ki_filp = rig.file.get();
    ki_pos = offset;
    ki_flags = flags | KiocbFlags::waitq;
    issuer = rig.issuer.get();
    ki_complete = [](Kiocb& /*kiocb*/, Outcome /*outcome*/) noexcept {
      FAIL() << "a read with a wait entry of its own is not completed but driven again";
    };
    wait.owner = this;
    wait.wake = [](WaitPage& woken) noexcept { ++static_cast<OwnRead*>(woken.owner)->wakes; };
    set_ki_waitq(&wait);
  }
  Outcome drive() { return file.read_iter(*this, IovView{&segment, 1}); }

  iovec segment;
  FakeFile& file;
  WaitPage wait;
  int wakes = 0;
};

TEST(BufferedRead, ArmsItsEntryAtAPageUnderIoAndIsWokenOnceAndDrivenAgain) {
  PageCacheRig rig;
  rig.file->set_bytes(2 * page_bytes, 1);
  rig.file->holds = true;
  std::vector<std::byte> to(page_bytes);
  OwnRead read(rig, 0, to);
  ASSERT_FALSE(read.drive().is_final());
  rig.poll();
  EXPECT_EQ(read.wakes, 0);
  rig.end_all();
  ASSERT_EQ(read.wakes, 1);
  EXPECT_EQ(read.drive().result(), IoResult::success(page_bytes));
  EXPECT_THAT(to, ElementsAreArray(rig.on_device(0, page_bytes)));
  EXPECT_EQ(read.wakes, 1);
}

TEST(BufferedRead, UsesOneEntryForAnyNumberOfPagesInTurn) {
  PageCacheRig rig;
  constexpr std::uint64_t length = 100 * page_bytes;
  rig.file->set_bytes(length, 1);
  rig.file->holds = true;
  std::vector<std::byte> to(length);
  OwnRead read(rig, 0, to);
  Outcome outcome = read.drive();
  int driven = 0;
  while (!outcome.is_final()) {
    ASSERT_EQ(read.wakes, driven);
    ASSERT_FALSE(rig.file->held.empty());
    rig.file->end_one();
    rig.poll();
    ASSERT_EQ(read.wakes, ++driven);
    outcome = read.drive();
  }
  EXPECT_EQ(outcome.result(), IoResult::success(length));
  EXPECT_GE(driven, 3);
  EXPECT_TRUE(to == rig.on_device(0, length));
  rig.end_all();
}

TEST(BufferedRead, DropsNowaitForTheRetry) {
  PageCacheRig rig;
  rig.file->set_bytes(page_bytes, 1);
  rig.file->holds = true;
  std::vector<std::byte> to(page_bytes);
  OwnRead read(rig, 0, to, KiocbFlags::nowait);
  ASSERT_FALSE(read.drive().is_final());
  EXPECT_EQ(read.ki_flags, KiocbFlags::waitq);
  rig.end_all();
  EXPECT_EQ(read.drive().result(), IoResult::success(page_bytes));
}

TEST(BufferedRead, IsNotWokenOnceItsEntryIsCancelled) {
  PageCacheRig rig;
  rig.file->set_bytes(page_bytes, 1);
  rig.file->holds = true;
  std::vector<std::byte> to(page_bytes);
  OwnRead first(rig, 0, to);
  OwnRead second(rig, 0, to);
  EXPECT_FALSE(cancel_page_wait(first.wait));
  ASSERT_FALSE(first.drive().is_final());
  ASSERT_FALSE(second.drive().is_final());
  EXPECT_TRUE(cancel_page_wait(first.wait));
  EXPECT_FALSE(cancel_page_wait(first.wait));
  rig.end_all();
  EXPECT_EQ(first.wakes, 0);
  EXPECT_EQ(second.wakes, 1);
  EXPECT_FALSE(cancel_page_wait(second.wait));
}

TEST(BufferedRead, OfAPageThatFailsTellsThoseWhoWaitedAndIsTriedAgainByOthers) {
  PageCacheRig rig;
  rig.file->set_bytes(page_bytes, 1);
  rig.file->holds = true;
  std::vector<std::byte> to(page_bytes);
  Aiocb first;
  Aiocb second;
  rig.start_read(first, 0, to);
  rig.start_read(second, 100, std::span(to).first(10));
  rig.poll();
  ASSERT_EQ(rig.file->held.size(), 1U);
  rig.file->end_one(IoResult::host_failure(EIO));
  rig.poll();
  EXPECT_EQ(first.result, IoResult::host_failure(EIO));
  EXPECT_EQ(second.result, IoResult::host_failure(EIO));
  rig.file->holds = false;
  EXPECT_EQ(rig.read(0, to), IoResult::success(page_bytes));
}

TEST(BufferedRead, ReportsTheBytesBeforeAPageThatFails) {
  PageCacheRig rig;
  rig.file->set_bytes(3 * page_bytes, 1);
  std::vector<std::byte> to(3 * page_bytes);
  EXPECT_EQ(rig.read(0, std::span(to).first(100)), IoResult::success(100));
  rig.file->space.drop(page_bytes, 3 * page_bytes);
  rig.file->next_result = IoResult::host_failure(EIO);
  EXPECT_EQ(rig.read(0, to), IoResult::host_failure(EIO).with_bytes(page_bytes));
}

TEST(BufferedRead, OfAPageThatWasInvalidatedMeanwhileReadsItAgain) {
  PageCacheRig rig;
  rig.file->set_bytes(page_bytes, 1);
  rig.file->holds = true;
  std::vector<std::byte> to(page_bytes);
  Aiocb read;
  rig.start_read(read, 0, to);
  rig.poll();
  ASSERT_EQ(rig.file->held.size(), 1U);
  // The read has seen what was there before; then a direct write has settled.
  const auto [io, iov] = rig.file->held.front();
  rig.file->held.pop_front();
  const IoResult old = rig.file->carry_out(*io, iov);
  rig.file->set_bytes(page_bytes, 99);
  rig.file->space.invalidate(0, page_bytes);
  io->ki_complete(*io, old);
  rig.end_all();
  EXPECT_EQ(read.result, IoResult::success(page_bytes));
  EXPECT_THAT(to, ElementsAreArray(rig.on_device(0, page_bytes)));
  EXPECT_EQ(rig.file->ios.size(), 2U);
}

TEST(BufferedRead, FindsWhatADirectWriteLeftOnTheDevice) {
  PageCacheRig rig;
  rig.file->set_bytes(2 * page_bytes, 1);
  rig.contents(0, 2 * page_bytes);
  rig.file->set_bytes(2 * page_bytes, 50);
  rig.file->space.invalidate(page_bytes, 2 * page_bytes);
  EXPECT_FALSE(rig.file->space.has_pages(page_bytes, 2 * page_bytes));
  EXPECT_TRUE(rig.file->space.has_pages(0, 2 * page_bytes));
  EXPECT_THAT(rig.contents(page_bytes, page_bytes),
              ElementsAreArray(rig.on_device(page_bytes, page_bytes)));
}

TEST(BufferedRead, WithNoioFindsWhatIsCachedAndStartsNothing) {
  PageCacheRig rig;
  rig.file->set_bytes(3 * page_bytes, 1);
  std::vector<std::byte> to(2 * page_bytes);
  EXPECT_EQ(rig.read(page_bytes, to, KiocbFlags::noio), would_block);
  EXPECT_THAT(rig.file->ios, IsEmpty());
  rig.contents(page_bytes, 10);
  rig.file->ios.clear();
  EXPECT_EQ(rig.read(page_bytes + 5, to, KiocbFlags::noio), IoResult::success(page_bytes - 5));
  EXPECT_THAT(rig.file->ios, IsEmpty());
}

TEST(BufferedRead, WithNowaitStartsTheReadAndDoesNotWaitForIt) {
  PageCacheRig rig;
  rig.file->set_bytes(page_bytes, 1);
  rig.file->holds = true;
  std::vector<std::byte> to(page_bytes);
  EXPECT_EQ(rig.read(0, to, KiocbFlags::nowait), would_block);
  EXPECT_EQ(rig.file->held.size(), 1U);
  EXPECT_EQ(rig.read(0, to, KiocbFlags::nowait), would_block);
  EXPECT_EQ(rig.file->held.size(), 1U);
  rig.end_all();
  EXPECT_EQ(rig.read(0, to, KiocbFlags::nowait), IoResult::success(page_bytes));
}

TEST(BufferedRead, WithDontcacheLeavesNothingBehind) {
  PageCacheRig rig;
  rig.file->set_bytes(8 * page_bytes, 1);
  std::vector<std::byte> to(8 * page_bytes);
  EXPECT_EQ(rig.read(0, to, KiocbFlags::dontcache), IoResult::success(8 * page_bytes));
  EXPECT_EQ(rig.cache.info().pages, 0U);
  // What others brought in stays.
  rig.contents(0, 10);
  const std::uint64_t pages = rig.cache.info().pages;
  EXPECT_EQ(rig.read(0, std::span(to).first(page_bytes), KiocbFlags::dontcache),
            IoResult::success(page_bytes));
  EXPECT_EQ(rig.cache.info().pages, pages);
}

TEST(BufferedRead, AtTheEndOfTheFileIsShortAndBeyondItEmpty) {
  PageCacheRig rig;
  rig.file->set_bytes(page_bytes + 100, 1);
  std::vector<std::byte> to(2 * page_bytes);
  EXPECT_EQ(rig.read(page_bytes, to), IoResult::success(100));
  EXPECT_EQ(rig.read(page_bytes + 100, to), IoResult::success(0));
  EXPECT_EQ(rig.read(50 * page_bytes, to), IoResult::success(0));
}

TEST(BufferedRead, ReadsAheadOfAReaderThatGoesInOrderAndOfNoOther) {
  PageCacheRig rig(std::uint64_t{16} << 20);
  rig.file->set_bytes(256 * page_bytes, 1);
  for (std::uint64_t page = 0; page < 128; ++page)
    rig.contents(page * page_bytes, page_bytes);
  const std::size_t in_order = rig.file->ios.size();
  EXPECT_LE(in_order, 12U);
  std::uint64_t longest = 0;
  for (const FakeFile::Io& io : rig.file->ios)
    longest = std::max(longest, io.length / page_bytes);
  EXPECT_EQ(longest, PageRead::pages_max);

  rig.file->space.drop(0, ~std::uint64_t{0});
  rig.file->ios.clear();
  for (const std::uint64_t page : {200U, 17U, 90U, 151U})
    rig.contents(page * page_bytes, 100);
  EXPECT_THAT(rig.file->ios, ElementsAre(FakeFile::read_of(200, 1), FakeFile::read_of(17, 1),
                                         FakeFile::read_of(90, 1), FakeFile::read_of(151, 1)));
}

TEST(BufferedRead, NeverTakesMoreMemoryThanTheBound) {
  PageCacheRig rig;
  rig.file->set_bytes(4 << 20, 1);
  for (std::uint64_t at = 0; at < rig.file->bytes.size(); at += 64 * page_bytes) {
    rig.contents(at, 64 * page_bytes);
    ASSERT_LE(rig.cache.info().memory_bytes, page_cache_bytes_min);
  }
  EXPECT_GT(rig.cache.info().evictions, 0U);
  EXPECT_GT(rig.cache.info().memory_bytes, page_cache_bytes_min / 2);
}

TEST(BufferedRead, LongerThanTheCacheEnds) {
  PageCacheRig rig;
  rig.file->set_bytes(3 << 20, 1);
  rig.file->holds = true;
  std::vector<std::byte> to(3 << 20);
  Aiocb read;
  rig.start_read(read, 0, to);
  rig.end_all();
  EXPECT_EQ(read.result, IoResult::success(3 << 20));
  EXPECT_TRUE(to == rig.file->bytes);
}

TEST(BufferedRead, EndsWhenAllMemoryIsUnderIoAndComesBack) {
  PageCacheRig rig;
  rig.file->set_bytes(4 << 20, 1);
  rig.file->holds = true;
  std::vector<std::vector<std::byte>> to(40, std::vector<std::byte>(32 * page_bytes));
  std::deque<Aiocb> reads(40);
  for (std::size_t i = 0; i < reads.size(); ++i)
    rig.start_read(reads[i], i * 24 * page_bytes, to[i]);
  rig.end_all();
  EXPECT_EQ(rig.issuer->in_flight(), 0U);
  for (std::size_t i = 0; i < reads.size(); ++i) {
    ASSERT_EQ(reads[i].result, IoResult::success(32 * page_bytes)) << i;
    ASSERT_TRUE(to[i] == rig.on_device(i * 24 * page_bytes, 32 * page_bytes)) << i;
  }
}

TEST(BufferedReadDeathTest, AWakeThatLocksIsAViolationOfTheContract) {
  EXPECT_DEATH(
      {
        set_contract_check(ContractCheck::abort);
        PageCacheRig rig;
        rig.file->set_bytes(page_bytes, 1);
        rig.file->holds = true;
        std::vector<std::byte> to(page_bytes);
        OwnRead read(rig, 0, to);
        read.wait.wake = [](WaitPage& /*wait*/) noexcept {
          RankedMutex mutex;
          const std::lock_guard guard(mutex);
        };
        static_cast<void>(read.drive());
        rig.end_all();
      },
      "page wait entry");
}

}  // namespace
}  // namespace handback::testing
