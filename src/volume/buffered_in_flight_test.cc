// Goal: buffered and direct requests on one file agree while some of them are in flight. Method: a
// device that ends its bios when the test says.
#include <array>

#include "issuer/fake_device_test_support.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

class BufferedInFlight : public ::testing::Test {
 protected:
  void SetUp() override {
    Geometry geometry = FakeDevice::default_geometry();
    geometry.size_bytes = 8 << 20;
    geometry.logical_block_bytes = block;
    device_ = std::make_unique<FakeDevice>(geometry);
    issuer_ = must(Issuer::create());
    must(Volume::format(*issuer_, *device_));
    volume_ = must(Volume::open(*issuer_, *device_));
    file_ = must(volume_->open_file(*issuer_, "/f", {.create = true}));
    must(volume_->sync(*issuer_));
  }
  void TearDown() override {
    while (device_->held_count() != 0 || issuer_->in_flight() != 0)
      end(0);
    device_->hold(false);
    file_.reset();
    volume_.reset();
    issuer_->detach(*device_);
  }
  void settle() {
    for (int i = 0; i < 4; ++i)
      issuer_->poll();
  }
  void end(std::size_t index) {
    if (device_->held_count() > index) device_->end_in_poll(index);
    settle();
  }
  IoResult put(std::uint64_t offset, std::size_t length) {
    Aiocb aiocb;
    aiocb.prepare_buffered_write(*file_, offset, data_.span().first(length));
    return issuer_->run(aiocb);
  }
  Aiocb& direct(std::size_t index, std::uint64_t offset, KiocbFlags flags = KiocbFlags::none) {
    requests_[index].prepare_write(*file_, offset, data_.span().first(block), flags);
    issuer_->submit(requests_[index]);
    settle();
    return requests_[index];
  }

  std::unique_ptr<FakeDevice> device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::unique_ptr<VolumeFile> file_;
  AlignedBuffer data_ = pattern(4 * block, 1);
  std::array<Aiocb, 2> requests_;
};

TEST_F(BufferedInFlight, AnAppendGoesWhereTheFileEndsAndNotBehindThePageOfAWriteBack) {
  EXPECT_EQ(put(20 * block, 10), IoResult::success(10));
  device_->hold(true);
  // It has the end of the file written back first.
  Aiocb& append = direct(0, 0, KiocbFlags::append);
  ASSERT_EQ(device_->held_count(), 1U);
  // Makes the file longer as it is published now, and is in flight for longer.
  Aiocb& inside = direct(1, 10 * block);
  ASSERT_EQ(device_->held_count(), 2U);
  end(0);
  settle();
  EXPECT_EQ(file_->size(), 20 * block + 10);
  while (device_->held_count() != 0)
    end(0);
  EXPECT_EQ(inside.result, IoResult::success(block));
  EXPECT_EQ(append.result, IoResult::failure(Errc::invalid, IoDetail::offset_unaligned));
  EXPECT_EQ(file_->size(), 20 * block + 10);
}

TEST_F(BufferedInFlight, ADirectWriteThatMayNotWaitForgetsNothingThatIsOnItsWay) {
  EXPECT_EQ(put(0, block), IoResult::success(block));
  must(file_->fsync(*issuer_));
  const AlignedBuffer after = pattern(block, 2);
  device_->hold(true);
  Aiocb newer;
  newer.prepare_buffered_write(*file_, 0, after.span(), KiocbFlags::dontcache);
  EXPECT_EQ(issuer_->run(newer), IoResult::success(block));
  settle();
  ASSERT_EQ(device_->held_count(), 1U);
  const Aiocb& refused = direct(0, 0, KiocbFlags::nowait);
  EXPECT_EQ(refused.result, IoResult::failure(Errc::would_block));
  device_->end_in_poll(0, IoResult::host_failure(eio));
  settle();
  device_->hold(false);
  std::vector<std::byte> found(block);
  Aiocb read;
  read.prepare_buffered_read(*file_, 0, found);
  EXPECT_EQ(issuer_->run(read), IoResult::success(block));
  EXPECT_EQ(found, bytes_of(after.span()));
}

// Ends the oldest bio that is held after so many turns of whatever waits on the issuer.
struct EndLater : IssuerWork {
  EndLater(Issuer& on, FakeDevice& of, int after) : issuer(on), device(of), turns(after) {
    run = [](IssuerWork& work) noexcept {
      auto& self = static_cast<EndLater&>(work);
      if (self.turns-- > 0) {
        self.issuer.post(self);
      } else {
        self.device.end_in_poll(0);
      }
    };
    issuer.post(*this);
  }
  Issuer& issuer;
  FakeDevice& device;
  int turns;
};

// A page that is written back again as soon as its write-back in flight has ended is so while the
// truncation waits for somebody else: what it started would stand in line behind the truncation.
TEST_F(BufferedInFlight, ATruncationLeavesNothingToBeWrittenBackBehindIt) {
  EXPECT_EQ(put(0, block), IoResult::success(block));
  must(file_->fsync(*issuer_));
  device_->hold(true);
  Aiocb first;
  first.prepare_buffered_write(*file_, 8 * block, data_.span().first(block), KiocbFlags::dontcache);
  EXPECT_EQ(issuer_->run(first), IoResult::success(block));
  settle();
  ASSERT_EQ(device_->held_count(), 1U);  // Its write-back.
  Aiocb again;
  again.prepare_buffered_write(*file_, 8 * block, data_.span().subspan(block, block),
                               KiocbFlags::dsync);
  issuer_->submit(again);
  AlignedBuffer to(block);
  Aiocb read;
  read.prepare_read(*file_, 0, to.span());
  issuer_->submit(read);
  settle();
  ASSERT_EQ(issuer_->in_flight(), 2U);
  ASSERT_EQ(device_->held_count(), 2U);
  device_->end_in_poll(0);
  device_->hold(false);
  // The truncation drains the read.
  EndLater later(*issuer_, *device_, 50);
  must(file_->truncate(*issuer_, 0));
  while (issuer_->in_flight() != 0)
    issuer_->wait();
  EXPECT_EQ(file_->size(), 0U);
  must(file_->truncate(*issuer_, 10 * block));
  Aiocb back;
  back.prepare_read(*file_, 8 * block, to.span());
  EXPECT_EQ(issuer_->run(back), IoResult::success(block));
  EXPECT_EQ(bytes_of(to.span()), std::vector<std::byte>(block));
}

}  // namespace
}  // namespace handback::testing
