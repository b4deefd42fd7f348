#include "block/fault_device.h"

#include <gtest/gtest.h>

#include <vector>

#include "block/fake_device.h"

namespace handback::testing {
namespace {

const IoResult broken = IoResult::failure(Errc::no_space);
const IoResult other = IoResult::failure(Errc::permission);

class FaultDeviceTest : public ::testing::Test {
 protected:
  FaultDeviceTest() : below_(geometry()), device_(below_), queue_(*device_.open_queue(-1)) {}

  static Geometry geometry() {
    Geometry geometry;
    geometry.size_bytes = 1U << 20;
    return geometry;
  }

  IoResult run(BioOp op, bool fua = false) {
    Bio bio;
    bio.op = op;
    bio.fua = fua;
    bio.end_io = [](Bio&) noexcept {};
    queue_->submit(&bio);
    EXPECT_EQ(queue_->poll(), 1U);
    return bio.result;
  }

  // The results of `count` bios of kind `op`, one after the other: true where it was `broken`.
  std::vector<bool> failures(BioOp op, unsigned count) {
    std::vector<bool> failed;
    for (unsigned i = 0; i < count; ++i) {
      const IoResult result = run(op);
      EXPECT_TRUE(result == broken || result == IoResult::success(0));
      failed.push_back(result == broken);
    }
    return failed;
  }

  FakeDevice below_;
  FaultDevice device_;
  std::unique_ptr<BlockQueue> queue_;
};

TEST_F(FaultDeviceTest, CountsWhatPasses) {
  EXPECT_EQ(run(BioOp::read), IoResult::success(0));
  EXPECT_EQ(run(BioOp::write), IoResult::success(0));
  EXPECT_EQ(run(BioOp::write, true), IoResult::success(0));
  EXPECT_EQ(run(BioOp::flush), IoResult::success(0));
  const FaultCounts expected{.reads = 1, .writes = 2, .flushes = 1, .fua_writes = 1, .failed = 0};
  EXPECT_EQ(device_.counts(), expected);
  EXPECT_EQ(below_.submitted.size(), 4U);
  device_.reset_counts();
  EXPECT_EQ(device_.counts(), FaultCounts{});
}

TEST_F(FaultDeviceTest, FailsTheNthOfItsKindOnce) {
  device_.fail(BioOp::write, 3, broken);
  EXPECT_EQ(failures(BioOp::read, 3), (std::vector<bool>{false, false, false}));
  EXPECT_EQ(failures(BioOp::write, 5), (std::vector<bool>{false, false, true, false, false}));
  EXPECT_EQ(below_.submitted.size(), 7U);
  EXPECT_EQ(device_.counts().failed, 1U);
  EXPECT_EQ(device_.counts().writes, 5U);
}

TEST_F(FaultDeviceTest, FailsFromTheNthOnUntilHealed) {
  device_.fail(BioOp::flush, 2, broken, FaultRepeat::for_ever);
  EXPECT_EQ(failures(BioOp::flush, 4), (std::vector<bool>{false, true, true, true}));
  device_.heal();
  EXPECT_EQ(failures(BioOp::flush, 2), (std::vector<bool>{false, false}));
}

TEST_F(FaultDeviceTest, TheOldestOfSeveralFaultsDecides) {
  device_.fail(BioOp::write, 2, other);
  device_.fail(BioOp::write, 2, broken, FaultRepeat::for_ever);
  EXPECT_EQ(run(BioOp::write), IoResult::success(0));
  EXPECT_EQ(run(BioOp::write), other);
  EXPECT_EQ(run(BioOp::write), broken);
}

TEST_F(FaultDeviceTest, AFaultInABatchLeavesTheOthersAloneAndEndsInPoll) {
  device_.fail(BioOp::write, 2, broken);
  static unsigned ended;
  ended = 0;
  Bio bios[3];
  for (Bio& bio : bios) {
    bio.op = BioOp::write;
    bio.end_io = [](Bio&) noexcept { ++ended; };
  }
  bios[0].next = &bios[1];
  bios[1].next = &bios[2];
  queue_->submit(bios);
  EXPECT_EQ(ended, 0U);
  queue_->wait(-1);
  EXPECT_EQ(below_.waits_ns, std::vector<std::int64_t>{0});  // A bio is ready: nobody may sleep.
  EXPECT_EQ(queue_->poll(), 3U);
  EXPECT_EQ(ended, 3U);
  EXPECT_EQ(bios[0].result, IoResult::success(0));
  EXPECT_EQ(bios[1].result, broken);
  EXPECT_EQ(bios[2].result, IoResult::success(0));
}

}  // namespace
}  // namespace handback::testing
