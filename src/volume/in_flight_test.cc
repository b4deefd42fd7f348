// Goal: what the log may say of a write depends on what has become of its data. Method: a device
// that ends its bios when the test says; what a crash at that moment leaves is a copy of its bytes.
#include "issuer/fake_device_test_support.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

class VolumeInFlight : public ::testing::Test {
 protected:
  void make(bool volatile_cache) {
    Geometry geometry = FakeDevice::default_geometry();
    geometry.size_bytes = 4 << 20;
    geometry.logical_block_bytes = block;
    geometry.volatile_cache = volatile_cache;
    device_ = std::make_unique<FakeDevice>(geometry);
    issuer_ = must(Issuer::create());
    must(Volume::format(*issuer_, *device_));
    volume_ = must(Volume::open(*issuer_, *device_));
    for (std::size_t i = 0; i < files_.size(); ++i)
      files_[i] = must(volume_->open_file(*issuer_, name_of(i), {.create = true}));
    must(volume_->sync(*issuer_));
    device_->hold(true);
  }
  void TearDown() override {
    while (device_->held_count() != 0 || issuer_->in_flight() != 0)
      end(0);
    device_->hold(false);
    for (auto& file : files_)
      file.reset();
    volume_.reset();
    issuer_->detach(*device_);
  }
  static std::string name_of(std::size_t index) { return "/" + std::to_string(index); }

  void append(std::size_t index, KiocbFlags flags = KiocbFlags::dsync) {
    requests_[index].prepare_write(*files_[index], 0, data_.span(), KiocbFlags::append | flags);
    issuer_->submit(requests_[index]);
    settle();
  }
  void settle() {
    for (int i = 0; i < 4; ++i)
      issuer_->poll();
  }
  // Ends the `index`-th oldest bio that is held.
  void end(std::size_t index) {
    if (device_->held_count() > index) device_->end_in_poll(index);
    settle();
  }
  [[nodiscard]] std::vector<BioOp> submitted() {
    std::vector<BioOp> ops;
    for (const SeenBio& bio : device_->take_seen())
      ops.push_back(bio.op);
    return ops;
  }
  [[nodiscard]] std::uint64_t addr_of(std::size_t index) const {
    return files_[index]->extents().at(0).addr;
  }

  // What opening finds if the process ends now.
  struct Found {
    RecoveryReport recovery;
    std::vector<std::uint64_t> sizes;
  };
  Found after_crash() {
    auto copy = std::make_unique<FakeDevice>(device_->geometry());
    copy->bytes = device_->bytes;
    auto issuer = must(Issuer::create());
    auto volume = must(Volume::open(*issuer, *copy));
    Found found{volume->recovery(), {}};
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const auto info = volume->stat(name_of(i));
      found.sizes.push_back(info ? info->size_bytes : 0);
    }
    volume.reset();
    issuer->detach(*copy);
    return found;
  }

  std::unique_ptr<FakeDevice> device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::array<std::unique_ptr<VolumeFile>, 5> files_;
  std::array<Aiocb, 5> requests_;
  AlignedBuffer data_ = pattern(block, 1);
};

TEST_F(VolumeInFlight, DataAndRecordAreSubmittedTogether) {
  make(false);
  device_->seen.clear();
  append(0);
  EXPECT_EQ(submitted(), (std::vector<BioOp>{BioOp::write, BioOp::write}));
  EXPECT_EQ(device_->held_count(), 2U);
}

TEST_F(VolumeInFlight, ALaterRecordDoesNotConfirmAWriteWhoseDataIsNotDown) {
  make(false);
  append(0);
  end(0);  // Its record.
  ASSERT_EQ(device_->held_count(), 1U);
  append(1);
  end(1);  // Record and data of the second.
  end(1);
  ASSERT_EQ(requests_[1].result, IoResult::success(block));
  ASSERT_EQ(issuer_->in_flight(), 1U);
  const Found found = after_crash();
  EXPECT_EQ(found.sizes[0], 0U);
  EXPECT_EQ(found.sizes[1], block);
  EXPECT_EQ(found.recovery.writes_dropped, 1U);
}

TEST_F(VolumeInFlight, OnADeviceWithAFlushOnlyTheFlushWaitsForRecordAndData) {
  for (const std::size_t first : {0U, 1U}) {
    make(true);
    device_->seen.clear();
    append(0);
    ASSERT_EQ(submitted(), (std::vector<BioOp>{BioOp::write, BioOp::write}));
    end(first);
    EXPECT_EQ(submitted(), std::vector<BioOp>{}) << first;
    end(0);
    EXPECT_EQ(submitted(), std::vector<BioOp>{BioOp::flush}) << first;
    EXPECT_EQ(issuer_->in_flight(), 1U);
    end(0);
    EXPECT_EQ(requests_[0].result, IoResult::success(block));
    EXPECT_EQ(issuer_->in_flight(), 0U);
    TearDown();
  }
  make(true);
}

// The write of file 0 stays in flight, so nothing after it is confirmed.
TEST_F(VolumeInFlight, BlocksOfAnUnconfirmedWriteAreNotReusedEvenIfItIsDurableThatTheyAreFree) {
  make(false);
  append(0);
  end(0);
  append(1);
  end(1);
  end(1);
  ASSERT_EQ(requests_[1].result, IoResult::success(block));
  const std::uint64_t freed = addr_of(1);
  append(2);  // So that no free block lies beside it.
  end(1);
  end(1);
  files_[1].reset();
  must(volume_->unlink(name_of(1)));
  append(2);  // With its record it is durable that the blocks are free.
  end(1);
  end(1);
  ASSERT_EQ(requests_[2].result, IoResult::success(block));
  append(3, KiocbFlags::none);
  EXPECT_NE(addr_of(3), freed);
  end(1);
  // The write of file 0 ends, and the next record confirms it.
  end(0);
  append(2);
  end(0);
  end(0);
  append(4, KiocbFlags::none);
  EXPECT_EQ(addr_of(4), freed);
}

}  // namespace
}  // namespace handback::testing
