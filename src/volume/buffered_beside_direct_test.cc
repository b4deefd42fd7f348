// Goal: direct and buffered I/O on one file agree, whatever is in flight. Method: a device that
// ends its bios when the test says.
#include "issuer/fake_device_test_support.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

using ::testing::ElementsAreArray;

class BufferedBesideDirect : public ::testing::Test {
 protected:
  BufferedBesideDirect() {
    Geometry geometry = FakeDevice::default_geometry();
    geometry.size_bytes = 8 << 20;
    geometry.logical_block_bytes = 512;
    device_ = std::make_unique<FakeDevice>(geometry);
    issuer_ = must(Issuer::create());
    must(Volume::format(*issuer_, *device_));
    volume_ = must(Volume::open(*issuer_, *device_, {.commit_interval_ms = 3'600'000}));
    file_ = must(volume_->open_file(*issuer_, "/f", {.create = true}));
    EXPECT_EQ(direct_write(0, old_.span()), IoResult::success(4 * block));
    must(volume_->sync(*issuer_));
  }
  ~BufferedBesideDirect() override {
    device_->hold(false);
    while (device_->held_count() != 0 || issuer_->in_flight() != 0)
      end(0);
    file_.reset();
    must(volume_->close(*issuer_));
    volume_.reset();
    issuer_->detach(*device_);
  }

  IoResult direct_write(std::uint64_t offset, std::span<const std::byte> from) {
    Aiocb aiocb;
    aiocb.prepare_write(*file_, offset, from);
    return issuer_->run(aiocb);
  }
  std::vector<std::byte> buffered(std::uint64_t offset, std::size_t length) {
    std::vector<std::byte> to(length);
    Aiocb aiocb;
    aiocb.prepare_buffered_read(*file_, offset, to);
    EXPECT_EQ(issuer_->run(aiocb), IoResult::success(static_cast<std::uint32_t>(length)));
    return to;
  }
  void settle() {
    for (int i = 0; i < 6; ++i)
      issuer_->poll();
  }
  void end(std::size_t index) {
    if (device_->held_count() > index) device_->end_in_poll(index);
    settle();
  }
  static std::vector<std::byte> part(const AlignedBuffer& of, std::size_t at, std::size_t length) {
    return bytes_of(of.span().subspan(at, length));
  }

  AlignedBuffer old_ = pattern(4 * block, 1);
  AlignedBuffer new_ = pattern(4 * block, 2);
  AlignedBuffer other_ = pattern(4 * block, 3);
  std::unique_ptr<FakeDevice> device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::unique_ptr<VolumeFile> file_;
};

TEST_F(BufferedBesideDirect, APureOverwriteGoesToTheIssuerOnlyIfItsRangeHasPages) {
  buffered(3 * block, 10);
  device_->hold(true);
  Aiocb beside;
  beside.prepare_write(*file_, 0, new_.span().first(block));
  issuer_->submit(beside);
  settle();
  end(0);
  EXPECT_EQ(beside.result, IoResult::success(block));
  EXPECT_EQ(beside.route, Route::inline_);
  EXPECT_EQ(beside.route_reason, RouteReason::pure_overwrite);

  Aiocb over;
  over.prepare_write(*file_, 3 * block, new_.span().first(block));
  issuer_->submit(over);
  settle();
  // While it is on its way, somebody reads the page in.
  Aiocb reads;
  std::vector<std::byte> to(block);
  reads.prepare_buffered_read(*file_, 3 * block, to);
  issuer_->submit(reads);
  settle();
  ASSERT_EQ(device_->held_count(), 2U);
  end(1);
  EXPECT_EQ(reads.result, IoResult::success(block));
  end(0);
  EXPECT_EQ(over.result, IoResult::success(block));
  EXPECT_EQ(over.route, Route::issuer);
  EXPECT_EQ(over.route_reason, RouteReason::cached_pages);
  device_->hold(false);
  EXPECT_THAT(buffered(3 * block, block), ElementsAreArray(part(new_, 0, block)));
}

TEST_F(BufferedBesideDirect, WhatIsReadInDuringADirectWriteIsReadAgainAfterIt) {
  buffered(0, 10);  // From here on the file has a page cache.
  device_->hold(true);
  Aiocb write;
  write.prepare_write(*file_, 0, new_.span());
  issuer_->submit(write);
  settle();
  Aiocb read;
  std::vector<std::byte> to(block);
  read.prepare_buffered_read(*file_, block, to);
  issuer_->submit(read);
  settle();
  // The read of the page has begun before the write has ended, and ends after it.
  ASSERT_EQ(device_->held_count(), 2U);
  end(0);
  EXPECT_EQ(write.result, IoResult::success(4 * block));
  device_->hold(false);
  end(0);
  settle();
  EXPECT_EQ(read.result, IoResult::success(block));
  EXPECT_THAT(buffered(block, block), ElementsAreArray(part(new_, block, block)));
}

TEST_F(BufferedBesideDirect, ABufferedWriteWaitsForADirectOneOfTheSamePageAndLiesOverIt) {
  buffered(0, 10);
  device_->hold(true);
  Aiocb direct;
  direct.prepare_write(*file_, 0, new_.span().first(block));
  issuer_->submit(direct);
  settle();
  Aiocb beside;
  beside.prepare_buffered_write(*file_, 100, other_.span().first(50));
  issuer_->submit(beside);
  settle();
  EXPECT_EQ(issuer_->in_flight(), 2U);
  while (device_->held_count() != 0)
    end(0);
  device_->hold(false);
  settle();
  EXPECT_EQ(direct.result, IoResult::success(block));
  EXPECT_EQ(beside.result, IoResult::success(50));
  std::vector<std::byte> expected = part(new_, 0, block);
  std::copy_n(other_.data(), 50, expected.begin() + 100);
  EXPECT_THAT(buffered(0, block), ElementsAreArray(expected));
  must(file_->fsync(*issuer_));
  AlignedBuffer back(block);
  Aiocb read;
  read.prepare_read(*file_, 0, back.span());
  EXPECT_EQ(issuer_->run(read), IoResult::success(block));
  EXPECT_THAT(bytes_of(back.span()), ElementsAreArray(expected));
}

TEST_F(BufferedBesideDirect, ADirectWriteWaitsForWhatIsDirtyBelowItAndLiesOverIt) {
  Aiocb first;
  first.prepare_buffered_write(*file_, 10, other_.span().first(20));
  EXPECT_EQ(issuer_->run(first), IoResult::success(20));
  device_->hold(true);
  Aiocb direct;
  direct.prepare_write(*file_, 0, new_.span().first(block));
  issuer_->submit(direct);
  settle();
  ASSERT_EQ(device_->held_count(), 1U);  // The write-back.
  end(0);
  EXPECT_EQ(issuer_->in_flight(), 1U);
  ASSERT_EQ(device_->held_count(), 1U);  // The write itself.
  device_->hold(false);
  end(0);
  EXPECT_EQ(direct.result, IoResult::success(block));
  EXPECT_THAT(buffered(0, block), ElementsAreArray(part(new_, 0, block)));
}

TEST_F(BufferedBesideDirect, NowaitDirectRequestsDoNotWaitForWriteBack) {
  Aiocb first;
  first.prepare_buffered_write(*file_, 10, other_.span().first(20));
  EXPECT_EQ(issuer_->run(first), IoResult::success(20));
  Aiocb write;
  write.prepare_write(*file_, 0, new_.span().first(block), KiocbFlags::nowait);
  EXPECT_EQ(issuer_->run(write), IoResult::failure(Errc::would_block));
  AlignedBuffer to(block);
  Aiocb read;
  read.prepare_read(*file_, 0, to.span());
  read.ki_flags |= KiocbFlags::nowait;
  EXPECT_EQ(issuer_->run(read), IoResult::failure(Errc::would_block));
  must(file_->fsync(*issuer_));
  EXPECT_EQ(issuer_->run(read), IoResult::success(block));
}

TEST_F(BufferedBesideDirect, ADirectWriteThatFailsLeavesNothingStaleAndKeepsNobodyOut) {
  buffered(0, 4 * block);
  device_->hold(true);
  Aiocb direct;
  direct.prepare_write(*file_, 0, new_.span().first(block));
  issuer_->submit(direct);
  settle();
  ASSERT_EQ(device_->held_count(), 1U);
  device_->end_in_poll(0, IoResult::host_failure(eio));
  settle();
  EXPECT_EQ(direct.result, IoResult::host_failure(eio));
  device_->hold(false);
  Aiocb beside;
  beside.prepare_buffered_write(*file_, 5, other_.span().first(50));
  EXPECT_EQ(issuer_->run(beside), IoResult::success(50));
}

TEST_F(BufferedBesideDirect, ADirectWriteBehindTheEndPublishesNothingThatIsStillInTheCache) {
  Aiocb first;
  first.prepare_buffered_write(*file_, 5 * block, other_.span().first(100));
  EXPECT_EQ(issuer_->run(first), IoResult::success(100));
  EXPECT_EQ(direct_write(8 * block, new_.span().first(block)), IoResult::success(block));
  EXPECT_EQ(volume_->info().page_cache.pages_dirty, 0U);
  EXPECT_EQ(file_->size(), 9 * block);
  EXPECT_THAT(buffered(5 * block, 100), ElementsAreArray(part(other_, 0, 100)));
  EXPECT_THAT(buffered(5 * block + 100, block), ElementsAreArray(std::vector<std::byte>(block)));
}

TEST_F(BufferedBesideDirect, ADirectAppendGoesToTheEndThatTheCacheHas) {
  Aiocb first;
  first.prepare_buffered_write(*file_, 4 * block, other_.span().first(512));
  EXPECT_EQ(issuer_->run(first), IoResult::success(512));
  Aiocb append;
  append.prepare_write(*file_, 0, new_.span().first(512), KiocbFlags::append);
  EXPECT_EQ(issuer_->run(append), IoResult::success(512));
  EXPECT_EQ(append.ki_pos, 4 * block + 512);
  EXPECT_THAT(buffered(4 * block, 512), ElementsAreArray(part(other_, 0, 512)));
  EXPECT_THAT(buffered(4 * block + 512, 512), ElementsAreArray(part(new_, 0, 512)));
}

TEST_F(BufferedBesideDirect, UnalignedDirectRequestsAreRefusedUnlessTheFileIsOpenedForThem) {
  Aiocb write;
  write.prepare_write(*file_, 100, other_.span().first(50));
  EXPECT_EQ(issuer_->run(write), IoResult::failure(Errc::invalid, IoDetail::offset_unaligned));
  auto through = must(volume_->open_file(*issuer_, "/f", {.unaligned_through_cache = true}));
  write.prepare_write(*through, 100, other_.span().first(50));
  EXPECT_EQ(issuer_->run(write), IoResult::success(50));
  // It is on the device, as any direct write that has ended.
  EXPECT_EQ(volume_->info().page_cache.pages_dirty, 0U);
  std::vector<std::byte> to(70);
  Aiocb read;
  read.prepare_read(*through, 90, to);
  EXPECT_EQ(issuer_->run(read), IoResult::success(70));
  std::vector<std::byte> expected = part(old_, 90, 70);
  std::copy_n(other_.data(), 50, expected.begin() + 10);
  EXPECT_THAT(to, ElementsAreArray(expected));
}

TEST_F(BufferedBesideDirect, FlagsThatDoNotGoTogetherAreRefused) {
  std::vector<std::byte> to(10);
  const auto result = [&](KiocbFlags flags, bool write) {
    Aiocb aiocb;
    if (write) {
      aiocb.prepare_buffered_write(*file_, 0, to, flags);
    } else {
      aiocb.prepare_buffered_read(*file_, 0, to, flags);
    }
    return issuer_->run(aiocb);
  };
  const auto invalid = [](IoDetail detail) { return IoResult::failure(Errc::invalid, detail); };
  EXPECT_EQ(result(KiocbFlags::hipri, false), invalid(IoDetail::flag_hipri));
  EXPECT_EQ(result(KiocbFlags::hipri, true), invalid(IoDetail::flag_hipri));
  EXPECT_EQ(result(KiocbFlags::noio, true), invalid(IoDetail::flag_noio));
  EXPECT_EQ(result(KiocbFlags::append, false), invalid(IoDetail::flag_append_read));
  EXPECT_EQ(result(KiocbFlags::atomic, true),
            IoResult::failure(Errc::not_supported, IoDetail::flag_atomic));
  AlignedBuffer aligned(block);
  Aiocb direct;
  direct.prepare_read(*file_, 0, aligned.span());
  direct.ki_flags = KiocbFlags::direct | KiocbFlags::waitq;
  EXPECT_EQ(issuer_->run(direct), invalid(IoDetail::flag_waitq));
  Aiocb polled;
  polled.prepare_buffered_read(*file_, 0, to, KiocbFlags::hipri);
  ASSERT_TRUE(has(polled.ki_flags, KiocbFlags::waitq));
  EXPECT_EQ(issuer_->run(polled), invalid(IoDetail::flag_hipri));
}

TEST_F(BufferedBesideDirect, ATruncationWaitsForPagesOnTheirWayAndTakesThem) {
  Aiocb write;
  write.prepare_buffered_write(*file_, 0, new_.span());
  EXPECT_EQ(issuer_->run(write), IoResult::success(4 * block));
  must(file_->truncate(*issuer_, 100));
  EXPECT_EQ(file_->size(), 100U);
  must(file_->truncate(*issuer_, 3 * block));
  EXPECT_THAT(buffered(0, 100), ElementsAreArray(part(new_, 0, 100)));
  EXPECT_THAT(buffered(100, 3 * block - 100),
              ElementsAreArray(std::vector<std::byte>(3 * block - 100)));
}

}  // namespace
}  // namespace handback::testing
