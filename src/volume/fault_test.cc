// A volume on a device that fails: what fails, what stays, what is refused from then on.
#include <array>

#include "block/fault_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

class VolumeFaults : public ::testing::Test {
 protected:
  VolumeFaults() {
    memory_ = make_memory_device({.size_bytes = 16 << 20, .volatile_cache = true, .fua = true});
    device_ = std::make_unique<FaultDevice>(*memory_);
    issuer_ = must(Issuer::create());
    must(Volume::format(*issuer_, *device_));
    volume_ = must(Volume::open(*issuer_, *device_));
    data_ = pattern(4096, 1);
  }
  ~VolumeFaults() override {
    file_.reset();
    volume_.reset();
    issuer_.reset();
  }

  IoResult write(std::uint64_t offset, KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_write(*file_, offset, data_.span(), flags);
    return issuer_->run(aiocb);
  }
  void create() { file_ = must(volume_->open_file(*issuer_, "/a", {.create = true})); }

  std::unique_ptr<BlockDevice> memory_;
  std::unique_ptr<FaultDevice> device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::unique_ptr<VolumeFile> file_;
  AlignedBuffer data_;
};

TEST_F(VolumeFaults, AFailedDataWriteFailsThatRequestAndLeavesTheSize) {
  create();
  ASSERT_TRUE(write(0).ok());
  device_->fail(BioOp::write, 1, IoResult::host_failure(eio));
  EXPECT_EQ(write(4096), IoResult::host_failure(eio));
  EXPECT_EQ(file_->size(), 4096U);
  EXPECT_EQ(write(4096), IoResult::success(4096));
  EXPECT_EQ(file_->size(), 8192U);
}

TEST_F(VolumeFaults, AFailedLogWriteIsTerminalForEveryLaterDurableCall) {
  create();
  must(volume_->sync(*issuer_));
  // The record is handed to the device first, then the data.
  device_->fail(BioOp::write, 1, IoResult::host_failure(eio));
  EXPECT_EQ(write(0, KiocbFlags::dsync), IoResult::host_failure(eio));
  EXPECT_EQ(write(0, KiocbFlags::dsync), IoResult::failure(Errc::poisoned));
  EXPECT_TRUE(is_error(file_->fsync(*issuer_), Errc::poisoned));
  EXPECT_TRUE(is_error(volume_->sync(*issuer_), Errc::poisoned));
  EXPECT_TRUE(is_error(volume_->mkdir("/d"), Errc::poisoned));
  file_.reset();
  EXPECT_TRUE(is_error(volume_->close(*issuer_), Errc::poisoned));
  volume_ = must(Volume::open(*issuer_, *device_));
  EXPECT_TRUE(volume_->mkdir("/d"));
}

TEST_F(VolumeFaults, AFailedFlushIsTerminalAndNotRetried) {
  create();
  ASSERT_TRUE(write(0).ok());
  must(volume_->sync(*issuer_));
  device_->fail(BioOp::flush, 1, IoResult::host_failure(eio));
  EXPECT_TRUE(is_error(file_->fsync(*issuer_), Errc::io));
  EXPECT_TRUE(is_error(file_->fsync(*issuer_), Errc::poisoned));
  EXPECT_EQ(write(0, KiocbFlags::dsync), IoResult::failure(Errc::poisoned));
  file_.reset();
}

TEST_F(VolumeFaults, WhatBufferedWritesLeftIsNotTriedForEverOnceTheLogHasFailed) {
  create();
  Aiocb aiocb;
  aiocb.prepare_buffered_write(*file_, 0, data_.span());
  ASSERT_TRUE(issuer_->run(aiocb).ok());
  auto other = must(volume_->open_file(*issuer_, "/b", {.create = true}));
  device_->fail(BioOp::write, 1, IoResult::host_failure(eio));
  EXPECT_TRUE(is_error(other->fsync(*issuer_), Errc::io));
  EXPECT_TRUE(is_error(file_->close(*issuer_), Errc::poisoned));
  EXPECT_EQ(volume_->info().page_cache.pages_dirty, 1U);
}

// A flush that failed once may succeed the second time although the cache has dropped what it held:
// nothing that was in it may be called durable ever after, and nothing more may be written.
TEST(VolumeFlushOnlyFaults, AFlushThatFailsOnceIsTerminalForTheAppendThatNeededItAndAllThatFollow) {
  auto memory = make_memory_device({.size_bytes = 16 << 20, .volatile_cache = true});
  FaultDevice device(*memory);
  auto issuer = must(Issuer::create());
  must(Volume::format(*issuer, device));
  auto volume = must(Volume::open(*issuer, device));
  auto file = must(volume->open_file(*issuer, "/log", {.create = true}));
  const AlignedBuffer data = pattern(4096, 1);
  const auto append = [&] {
    Aiocb aiocb;
    aiocb.prepare_write(*file, 0, data.span(), KiocbFlags::append | KiocbFlags::dsync);
    return issuer->run(aiocb);
  };
  ASSERT_EQ(append(), IoResult::success(4096));
  device.fail(BioOp::flush, 1, IoResult::host_failure(eio));
  EXPECT_EQ(append(), IoResult::host_failure(eio));
  device.heal();
  device.reset_counts();
  EXPECT_EQ(append(), IoResult::failure(Errc::poisoned));
  EXPECT_TRUE(is_error(file->fsync(*issuer), Errc::poisoned));
  EXPECT_TRUE(is_error(file->truncate(*issuer, 0), Errc::poisoned));
  EXPECT_TRUE(is_error(volume->rename("/log", "/other"), Errc::poisoned));
  EXPECT_TRUE(is_error(volume->sync(*issuer), Errc::poisoned));
  file.reset();
  EXPECT_TRUE(is_error(volume->close(*issuer), Errc::poisoned));
  volume.reset();
  EXPECT_EQ(device.counts(), FaultCounts{});
  // What was acknowledged is there.
  volume = must(Volume::open(*issuer, device));
  EXPECT_GE(must(volume->stat("/log")).size_bytes, 4096U);
  volume.reset();
  issuer->detach(device);
}

TEST_F(VolumeFaults, EveryIoThatFailsOnceLeavesAVolumeThatOpensConsistent) {
  // Fails each write and each flush of a fixed story in turn, then opens what is left.
  for (const BioOp op : {BioOp::write, BioOp::flush}) {
    for (std::uint64_t nth = 1;; ++nth) {
      SCOPED_TRACE(::testing::Message() << (op == BioOp::write ? "write " : "flush ") << nth);
      device_->heal();
      file_.reset();
      volume_.reset();
      must(Volume::format(*issuer_, *device_, {.overwrite = true}));
      volume_ = must(Volume::open(*issuer_, *device_));
      device_->reset_counts();
      device_->fail(op, nth, IoResult::host_failure(eio));
      create();
      (void)write(0, KiocbFlags::dsync);
      (void)write(4096);
      (void)volume_->mkdir("/d");
      (void)volume_->sync(*issuer_);
      (void)volume_->rename("/a", "/d/a");
      (void)file_->truncate(*issuer_, 1000);
      (void)file_->fsync(*issuer_);
      file_.reset();
      const bool closed = static_cast<bool>(volume_->close(*issuer_));
      volume_.reset();
      const bool hit = device_->counts().failed != 0;
      EXPECT_TRUE(closed || hit);
      device_->heal();
      EXPECT_THAT(must(check_volume(*issuer_, *device_)).findings, ::testing::IsEmpty());
      volume_ = must(Volume::open(*issuer_, *device_));
      if (closed) {
        EXPECT_TRUE(volume_->stat("/d/a"));
      }
      if (!hit) break;
    }
  }
}

TEST_F(VolumeFaults, CountsOfDeviceWritesAndFlushesOfDurableOperations) {
  create();
  ASSERT_TRUE(write(0).ok());
  must(volume_->sync(*issuer_));
  device_->reset_counts();
  // An overwrite of what is durable: one FUA write.
  ASSERT_TRUE(write(0, KiocbFlags::dsync).ok());
  EXPECT_EQ(device_->counts(), (FaultCounts{.writes = 1, .fua_writes = 1}));
  device_->reset_counts();
  // An extension: data and record together.
  ASSERT_TRUE(write(4096, KiocbFlags::dsync).ok());
  EXPECT_EQ(device_->counts(), (FaultCounts{.writes = 2, .fua_writes = 2}));
  file_.reset();
}

// Durable appends in flight while the log becomes full, so that a checkpoint and a record are under
// way together; then one flush or write fails for ever. Nothing may be left waiting: the volume,
// its device's queue and the issuer go.
unsigned appends_until(BioOp op, std::uint64_t nth) {
  auto memory = make_memory_device({.size_bytes = 16 << 20, .volatile_cache = true});
  FaultDevice device(*memory);
  auto issuer = must(Issuer::create());
  must(Volume::format(*issuer, device));
  auto volume = must(Volume::open(*issuer, device));
  auto file = must(volume->open_file(*issuer, "/log", {.create = true}));
  const AlignedBuffer data = pattern(4096, 1);
  device.fail(op, nth, IoResult::host_failure(eio), FaultRepeat::for_ever);
  std::array<Aiocb, 4> aiocbs;
  unsigned durable = 0;
  for (unsigned round = 0; round < 40; ++round) {
    for (Aiocb& aiocb : aiocbs) {
      aiocb.prepare_write(*file, 0, data.span(), KiocbFlags::append | KiocbFlags::dsync);
      issuer->submit(aiocb);
      issuer->poll();
    }
    while (issuer->in_flight() != 0)
      issuer->wait();
    for (const Aiocb& aiocb : aiocbs)
      durable += aiocb.result.ok() ? 1 : 0;
    if (volume->sync(*issuer)) continue;
    break;
  }
  file.reset();
  volume.reset();
  issuer->detach(device);
  return durable;
}

TEST(VolumeFaultSweep, LeavesNothingWaitingWhicheverFlushOrWriteFails) {
  for (const BioOp op : {BioOp::flush, BioOp::write}) {
    unsigned durable_before = 0;
    for (std::uint64_t nth = 1; nth <= 300; ++nth) {
      const unsigned durable = appends_until(op, nth);
      EXPECT_GE(durable, durable_before) << nth;
      durable_before = durable;
    }
    EXPECT_GE(durable_before, 64U);
  }
}

}  // namespace
}  // namespace handback::testing
