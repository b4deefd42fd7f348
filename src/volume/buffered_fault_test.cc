// Buffered writes whose write-back fails, and volumes that are full, frozen or read-only.
#include "block/fault_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

using ::testing::HasSubstr;

class BufferedFaults : public ::testing::Test {
 protected:
  BufferedFaults() {
    memory_ = make_memory_device({.size_bytes = 16 << 20});
    device_ = std::make_unique<FaultDevice>(*memory_);
    issuer_ = must(Issuer::create());
    must(Volume::format(*issuer_, *device_));
    open();
  }
  ~BufferedFaults() override {
    for (auto& file : files_)
      file.reset();
    volume_.reset();
    issuer_.reset();
  }
  void open(VolumeOptions options = {}) {
    options.commit_interval_ms = 3'600'000;
    volume_ = must(Volume::open(*issuer_, *device_, options));
  }
  VolumeFile& handle(const std::string& path) {
    files_.push_back(must(volume_->open_file(*issuer_, path, {.create = true})));
    return *files_.back();
  }
  IoResult put(VolumeFile& file, std::uint64_t offset, std::uint64_t length,
               KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_buffered_write(file, offset, data_.span().first(length), flags);
    return issuer_->run(aiocb);
  }
  std::vector<std::byte> get(VolumeFile& file, std::uint64_t offset, std::size_t length) {
    std::vector<std::byte> to(length);
    Aiocb aiocb;
    aiocb.prepare_buffered_read(file, offset, to);
    const IoResult result = issuer_->run(aiocb);
    EXPECT_TRUE(result.ok()) << describe(result);
    to.resize(result.bytes());
    return to;
  }
  void fail_writes() {
    device_->fail(BioOp::write, 1, IoResult::host_failure(eio), FaultRepeat::for_ever);
  }

  AlignedBuffer data_ = pattern(1 << 20, 1);
  std::unique_ptr<BlockDevice> memory_;
  std::unique_ptr<FaultDevice> device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::vector<std::unique_ptr<VolumeFile>> files_;
};

TEST_F(BufferedFaults, AFailedWriteBackIsToldOnceToEachHandleThatWasOpen) {
  VolumeFile& first = handle("/a");
  VolumeFile& second = handle("/a");
  must(volume_->sync(*issuer_));
  EXPECT_EQ(put(first, 0, 100), IoResult::success(100));
  fail_writes();
  EXPECT_TRUE(is_error(first.close(*issuer_), Errc::io));
  device_->heal();
  VolumeFile& later = handle("/a");
  // It fails no more, and what could not be written is there still.
  must(first.fsync(*issuer_));
  EXPECT_TRUE(is_error(second.fsync(*issuer_), Errc::io));
  must(second.fsync(*issuer_));
  must(later.fsync(*issuer_));
  EXPECT_EQ(get(later, 0, 200), bytes_of(data_.span().first(100)));
  EXPECT_EQ(volume_->info().page_cache.pages_dirty, 0U);
}

TEST_F(BufferedFaults, AnFsyncThatCannotWriteBackFailsEachTimeUntilItCan) {
  VolumeFile& file = handle("/a");
  must(volume_->sync(*issuer_));
  EXPECT_EQ(put(file, 0, 10 * block), IoResult::success(10 * block));
  fail_writes();
  EXPECT_TRUE(is_error(file.close(*issuer_), Errc::io));
  EXPECT_TRUE(is_error(file.close(*issuer_), Errc::io));
  device_->heal();
  must(file.fsync(*issuer_));
  must(file.fsync(*issuer_));
  AlignedBuffer back(10 * block);
  Aiocb read;
  read.prepare_read(file, 0, back.span());
  EXPECT_EQ(issuer_->run(read), IoResult::success(10 * block));
  EXPECT_EQ(bytes_of(back.span()), bytes_of(data_.span().first(10 * block)));
}

TEST_F(BufferedFaults, WritersStopWithTheErrorWhereNothingDirtyCanBeWrittenBack) {
  files_.clear();
  must(volume_->close(*issuer_));
  volume_.reset();
  open({.page_cache_bytes_max = 1 << 20});
  VolumeFile& file = handle("/a");
  must(volume_->sync(*issuer_));
  fail_writes();
  EXPECT_EQ(put(file, 0, 1 << 20).code(), Errc::io);
  EXPECT_EQ(put(file, 0, block).code(), Errc::io);
  // Reads of others go on.
  VolumeFile& other = handle("/b");
  EXPECT_EQ(get(other, 0, 10).size(), 0U);
  device_->heal();
  must(file.fsync(*issuer_).or_else([&](const Error&) { return file.fsync(*issuer_); }));
  EXPECT_EQ(put(file, 0, block), IoResult::success(block));
}

TEST_F(BufferedFaults, ClosingAVolumeSaysWhatCouldNotBeWrittenBack) {
  VolumeFile& file = handle("/a");
  must(volume_->sync(*issuer_));
  EXPECT_EQ(put(file, 0, 100), IoResult::success(100));
  files_.clear();
  fail_writes();
  const Result<void> closed = volume_->close(*issuer_);
  ASSERT_TRUE(is_error(closed, Errc::io));
  EXPECT_THAT(closed.error().message(), HasSubstr("writing back what buffered writes left"));
  volume_.reset();
  device_->heal();
  open();
  EXPECT_EQ(must(volume_->stat("/a")).size_bytes, 0U);
}

TEST_F(BufferedFaults, ABufferedWriteOnAFullVolumeSaysSoAtOnceAndChangesNothing) {
  VolumeFile& file = handle("/a");
  const std::uint64_t free = volume_->info().free_bytes;
  Aiocb huge;
  std::vector<std::byte> all(free + 10 * block);
  huge.prepare_buffered_write(file, 0, all);
  EXPECT_EQ(issuer_->run(huge), IoResult::failure(Errc::no_space));
  EXPECT_EQ(file.size(), 0U);
  EXPECT_EQ(put(file, 0, 100), IoResult::success(100));
  must(file.fsync(*issuer_));
}

TEST_F(BufferedFaults, SpaceThatACommitWouldFreeIsWaitedFor) {
  VolumeFile& full = handle("/full");
  const std::uint64_t free = volume_->info().free_bytes;
  must(full.preallocate(0, free / 4 * 3));
  must(volume_->sync(*issuer_));
  must(full.truncate(*issuer_, block));
  must(full.truncate(*issuer_, 0));
  VolumeFile& file = handle("/a");
  std::vector<std::byte> much(free / 2);
  Aiocb write;
  write.prepare_buffered_write(file, 0, much);
  EXPECT_EQ(issuer_->run(write), IoResult::success(static_cast<std::uint32_t>(much.size())));
  must(file.fsync(*issuer_));
}

TEST_F(BufferedFaults, WhatIsInTheCacheIsInTheCopyOfAFrozenVolume) {
  VolumeFile& file = handle("/a");
  EXPECT_EQ(put(file, 0, 100), IoResult::success(100));
  must(volume_->freeze(*issuer_));
  EXPECT_EQ(volume_->info().page_cache.pages_dirty, 0U);
  // The cache takes more; the device does not.
  const std::uint64_t writes = device_->counts().writes;
  EXPECT_EQ(put(file, 50, 100), IoResult::success(100));
  EXPECT_EQ(get(file, 0, 200).size(), 150U);
  EXPECT_TRUE(is_error(file.fsync(*issuer_), Errc::busy));
  EXPECT_TRUE(is_error(volume_->sync(*issuer_), Errc::busy));
  EXPECT_EQ(device_->counts().writes, writes);
  must(volume_->thaw(*issuer_));
  must(file.fsync(*issuer_));
  EXPECT_EQ(must(volume_->stat("/a")).size_bytes, 150U);
}

TEST_F(BufferedFaults, AReadOnlyVolumeReadsThroughItsCacheAndTakesNoWrite) {
  EXPECT_EQ(put(handle("/a"), 0, 100, KiocbFlags::dsync), IoResult::success(100));
  files_.clear();
  must(volume_->close(*issuer_));
  volume_.reset();
  open({.read_only = true});
  files_.push_back(must(volume_->open_file(*issuer_, "/a")));
  VolumeFile& file = *files_.back();
  EXPECT_EQ(get(file, 0, 200), bytes_of(data_.span().first(100)));
  EXPECT_EQ(put(file, 0, 10), IoResult::failure(Errc::read_only));
  files_.clear();
  must(volume_->close(*issuer_));
}

TEST_F(BufferedFaults, AFileWithoutANameIsNotWrittenBackAfterItsLastHandle) {
  VolumeFile& file = handle("/a");
  must(volume_->sync(*issuer_));
  const std::uint64_t free = volume_->info().free_bytes;
  EXPECT_EQ(put(file, 0, 100 * block), IoResult::success(100 * block));
  EXPECT_EQ(volume_->info().free_bytes, free - 100 * block);
  must(volume_->unlink("/a"));
  EXPECT_EQ(get(file, 5, 100), bytes_of(data_.span().subspan(5, 100)));
  files_.clear();
  must(volume_->sync(*issuer_));
  EXPECT_EQ(volume_->info().free_bytes, free);
  EXPECT_EQ(volume_->info().page_cache.pages, 0U);
}

TEST_F(BufferedFaults, ADirtyFileThatIsOpenedAgainHasWhatWasLeftInTheCache) {
  EXPECT_EQ(put(handle("/a"), 7, 100), IoResult::success(100));
  files_.clear();
  EXPECT_EQ(volume_->info().page_cache.pages_dirty, 1U);
  VolumeFile& again = handle("/a");
  EXPECT_EQ(again.size(), 107U);
  EXPECT_EQ(get(again, 7, 200), bytes_of(data_.span().first(100)));
}

TEST_F(BufferedFaults, AVolumeThatGoesWithoutCloseLosesWhatWasNotWrittenBack) {
  VolumeFile& file = handle("/a");
  must(volume_->sync(*issuer_));
  EXPECT_EQ(put(file, 0, 100), IoResult::success(100));
  files_.clear();
  volume_.reset();
  open();
  EXPECT_EQ(must(volume_->stat("/a")).size_bytes, 0U);
}

TEST_F(BufferedFaults, OldDirtyPagesAreWrittenBackWhileTheIssuerPolls) {
  must(volume_->close(*issuer_));
  volume_.reset();
  volume_ = must(Volume::open(*issuer_, *device_, {.commit_interval_ms = 1}));
  VolumeFile& file = handle("/a");
  EXPECT_EQ(put(file, 0, 100), IoResult::success(100));
  while (volume_->info().page_cache.pages_dirty != 0)
    issuer_->poll();
  while (volume_->info().log_used_bytes == 0)
    issuer_->poll();
  files_.clear();
}

TEST_F(BufferedFaults, ACacheOfLessThanAMebibyteIsRefused) {
  must(volume_->close(*issuer_));
  volume_.reset();
  EXPECT_TRUE(
      is_error(Volume::open(*issuer_, *device_, {.page_cache_bytes_max = 1000}), Errc::invalid));
  open();
}

}  // namespace
}  // namespace handback::testing
