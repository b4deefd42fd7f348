// Goal: the simulated device does what a device may do, and no more; and it remembers it.
#include <gtest/gtest.h>
#include <handback/deadline_device.h>
#include <handback/iomap.h>
#include <handback/issuer.h>
#include <handback/sim.h>

#include <cstring>
#include <set>

#include "sim/crash_window.h"

namespace handback::sim {
namespace {

class SimDeviceTest : public ::testing::Test {
 protected:
  void make(const SimDeviceOptions& options) {
    device_ = std::make_unique<SimDevice>(environment_, options);
    issuer_ = *Issuer::create({.nudge_signal = 0, .environment = &environment_});
    file_ = make_device_file(*device_);
  }
  ~SimDeviceTest() override {
    file_.reset();
    issuer_.reset();
  }

  IoResult write(std::uint64_t block, char with, KiocbFlags flags = KiocbFlags::none) {
    AlignedBuffer buffer(4096);
    std::memset(buffer.data(), with, 4096);
    Aiocb aiocb;
    aiocb.prepare_write(*file_, block * 4096, buffer.span(), flags);
    return issuer_->run(aiocb);
  }
  char read(std::uint64_t block) {
    AlignedBuffer buffer(4096);
    Aiocb aiocb;
    aiocb.prepare_read(*file_, block * 4096, buffer.span());
    EXPECT_TRUE(issuer_->run(aiocb).ok());
    return static_cast<char>(buffer.data()[0]);
  }
  // The first bytes of block 0 in all images of this moment, and of block 1.
  std::set<std::string> images() {
    const SimRecord record = device_->record();
    CrashWindows windows(*device_, record);
    windows.go_to(device_->now());
    std::set<std::string> seen;
    CrashRule rule;
    rule.torn_exhaustive_max = 0;
    windows.each(
        rule, [](const CrashImage& image) { return !image.torn; },
        [&](const CrashImage&) {
          const auto* bytes = reinterpret_cast<const char*>(device_->image().data());
          seen.insert({bytes[0], bytes[4096]});
          return true;
        });
    return seen;
  }

  SimEnvironment environment_{1};
  std::unique_ptr<SimDevice> device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<File> file_;
};

TEST_F(SimDeviceTest, KeepsWhatEndedWithoutACache) {
  make({});
  device_->mark();
  device_->start_recording();
  ASSERT_TRUE(write(0, 'a').ok());
  device_->stop_recording();
  device_->rollback();
  EXPECT_EQ(images(), (std::set<std::string>{std::string{'a', '\0'}}));
}

TEST_F(SimDeviceTest, MayLoseAnySubsetOfWhatLiesInTheCache) {
  make({.volatile_cache = true});
  device_->mark();
  device_->start_recording();
  ASSERT_TRUE(write(0, 'a').ok());
  ASSERT_TRUE(write(1, 'b').ok());
  device_->stop_recording();
  device_->rollback();
  EXPECT_EQ(images(), (std::set<std::string>{{'\0', '\0'}, {'a', '\0'}, {'\0', 'b'}, {'a', 'b'}}));
}

TEST_F(SimDeviceTest, KeepsWhatAFlushCovers) {
  make({.volatile_cache = true});
  device_->mark();
  device_->start_recording();
  ASSERT_TRUE(write(0, 'a', KiocbFlags::dsync).ok());
  ASSERT_TRUE(write(1, 'b').ok());
  device_->stop_recording();
  device_->rollback();
  EXPECT_EQ(images(), (std::set<std::string>{{'a', '\0'}, {'a', 'b'}}));
}

TEST_F(SimDeviceTest, CoversNothingWithAFlushThatItIgnores) {
  make({.volatile_cache = true});
  device_->add_fault({.kind = FaultKind::ignored_flush, .op = BioOp::flush});
  device_->mark();
  device_->start_recording();
  ASSERT_TRUE(write(0, 'a', KiocbFlags::dsync).ok());
  device_->stop_recording();
  device_->rollback();
  EXPECT_EQ(images(), (std::set<std::string>{{'\0', '\0'}, {'a', '\0'}}));
}

TEST_F(SimDeviceTest, NeverCoversWhatAFailedFlushLeft) {
  make({.volatile_cache = true});
  device_->add_fault({.kind = FaultKind::failed_flush, .op = BioOp::flush});
  device_->mark();
  device_->start_recording();
  EXPECT_FALSE(write(0, 'a', KiocbFlags::dsync).ok());
  ASSERT_TRUE(write(1, 'b', KiocbFlags::dsync).ok());
  device_->stop_recording();
  device_->rollback();
  EXPECT_EQ(images(), (std::set<std::string>{{'\0', 'b'}, {'a', 'b'}}));
}

TEST_F(SimDeviceTest, ForgetsWhatALaterWriteThroughTheCacheReplaced) {
  make({.volatile_cache = true, .fua = true});
  device_->mark();
  device_->start_recording();
  ASSERT_TRUE(write(0, 'a').ok());
  ASSERT_TRUE(write(0, 'b', KiocbFlags::dsync).ok());
  device_->stop_recording();
  device_->rollback();
  EXPECT_EQ(images(), (std::set<std::string>{{'b', '\0'}}));
}

TEST_F(SimDeviceTest, LosesAWriteThatItSaysWasDone) {
  make({});
  device_->add_fault({.kind = FaultKind::lost_write, .op = BioOp::write});
  ASSERT_TRUE(write(0, 'a').ok());
  EXPECT_EQ(read(0), '\0');
  ASSERT_TRUE(write(0, 'b').ok());
  EXPECT_EQ(read(0), 'b');
  EXPECT_EQ(device_->faults().front().hits, 1U);
}

TEST_F(SimDeviceTest, ReturnsWhatWasThereBeforeTheLastWrite) {
  make({});
  ASSERT_TRUE(write(0, 'a').ok());
  device_->add_fault({.kind = FaultKind::stale_read, .op = BioOp::read});
  ASSERT_TRUE(write(0, 'b').ok());
  EXPECT_EQ(read(0), 'a');
  EXPECT_EQ(read(0), 'b');
}

TEST_F(SimDeviceTest, TurnsItsClockOnlyWhileSomebodyWaits) {
  make({.delay_ns_min = 5'000, .delay_ns_max = 5'000});
  const std::uint64_t before_ns = environment_.monotonic_ns();
  ASSERT_TRUE(write(0, 'a').ok());
  EXPECT_GE(environment_.monotonic_ns(), before_ns + 5'000);
  EXPECT_LT(environment_.monotonic_ns(), before_ns + 10'000);
}

TEST_F(SimDeviceTest, IsStoppedByTheDeadlineAboveItIfItEndsABioTwice) {
  make({});
  issuer_->detach(*device_);
  const auto deadline = make_deadline_device(*device_);
  const auto file = make_device_file(*deadline);
  device_->add_fault({.kind = FaultKind::ends_twice});
  EXPECT_DEATH(
      {
        AlignedBuffer buffer(4096);
        Aiocb aiocb;
        aiocb.prepare_write(*file, 0, buffer.span());
        static_cast<void>(issuer_->run(aiocb));
      },
      "a device ends each bio once");
  issuer_->detach(*deadline);
}

TEST_F(SimDeviceTest, StopsAProgramThatWaitsForNothing) {
  make({});
  EXPECT_DEATH(
      {
        device_->add_fault({.kind = FaultKind::no_answer});
        static_cast<void>(write(0, 'a'));
      },
      "nothing will end the sleep");
}

}  // namespace
}  // namespace handback::sim
