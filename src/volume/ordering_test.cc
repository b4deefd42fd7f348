// What must be in order although devices keep none.
#include "volume/reorder_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

class VolumeOrdering : public ::testing::Test {
 protected:
  void make(const MemoryDeviceOptions& options) {
    memory_ = make_memory_device(options);
    device_ = std::make_unique<ReorderDevice>(*memory_);
    issuer_ = must(Issuer::create());
    must(Volume::format(*issuer_, *device_));
    volume_ = must(Volume::open(*issuer_, *device_, {.commit_interval_ms = 0}));
    file_ = must(volume_->open_file(*issuer_, "/a", {.create = true}));
  }
  ~VolumeOrdering() override {
    file_.reset();
    if (volume_ != nullptr) must(volume_->close(*issuer_));
    volume_.reset();
    issuer_.reset();
  }
  IoResult write(std::uint64_t offset, std::span<const std::byte> from,
                 KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_write(*file_, offset, from, flags);
    return issuer_->run(aiocb);
  }
  // Leaves a commit on its way whose flush has been submitted already, and its record not yet
  // durable.
  void start_a_commit(std::uint64_t extending_offset) {
    ASSERT_TRUE(write(extending_offset, data_.span()).ok());
    while (std::count(device_->history().begin(), device_->history().end(), "flush") == 0)
      issuer_->poll();
  }

  std::unique_ptr<BlockDevice> memory_;
  std::unique_ptr<ReorderDevice> device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::unique_ptr<VolumeFile> file_;
  AlignedBuffer data_ = pattern(4096, 1);
};

// The last flush or FUA write must come after the data that is to be durable.
void expect_flush_after(const std::vector<std::string>& history, const std::string& mark) {
  const auto from = std::find(history.begin(), history.end(), mark);
  ASSERT_NE(from, history.end());
  EXPECT_NE(std::find(from, history.end(), "flush"), history.end())
      << ::testing::PrintToString(history);
}

// The record that makes the file longer goes together with its data, without a flush before it.
TEST_F(VolumeOrdering, ZeroesOfTheTailAreDurableBeforeTheFileGrowsPastThemWithFua) {
  make({.volatile_cache = true, .fua = true});
  ASSERT_TRUE(write(0, data_.span()).ok());
  must(file_->truncate(*issuer_, 2048));
  must(volume_->sync(*issuer_));
  device_->forget();
  ASSERT_TRUE(write(8192, data_.span(), KiocbFlags::dsync).ok());
  ASSERT_GE(device_->history().size(), 2U);
  EXPECT_EQ(device_->history()[0], "read");
  EXPECT_EQ(device_->history()[1], "write_fua");
}

TEST_F(VolumeOrdering, ZeroesOfTheTailAreFlushedBeforeTheFileGrowsPastThemWithoutFua) {
  make({.volatile_cache = true});
  ASSERT_TRUE(write(0, data_.span()).ok());
  must(file_->truncate(*issuer_, 2048));
  must(volume_->sync(*issuer_));
  device_->forget();
  ASSERT_TRUE(write(8192, data_.span(), KiocbFlags::dsync).ok());
  ASSERT_GE(device_->history().size(), 3U);
  EXPECT_EQ(device_->history()[0], "read");
  EXPECT_EQ(device_->history()[1], "write");
  EXPECT_EQ(device_->history()[2], "flush");
}

TEST_F(VolumeOrdering, FsyncFlushesDataWrittenAfterTheCommitItWaitsForHadFlushed) {
  make({.volatile_cache = true, .fua = true});
  ASSERT_TRUE(write(0, data_.span()).ok());
  must(volume_->sync(*issuer_));
  device_->forget();
  start_a_commit(4096);
  ASSERT_TRUE(write(0, data_.span()).ok());
  device_->note("data is down");
  must(file_->fsync(*issuer_));
  expect_flush_after(device_->history(), "data is down");
}

TEST_F(VolumeOrdering, SyncFlushesDataWrittenAfterTheCommitItWaitsForHadFlushed) {
  make({.volatile_cache = true, .fua = true});
  ASSERT_TRUE(write(0, data_.span()).ok());
  must(volume_->sync(*issuer_));
  device_->forget();
  start_a_commit(4096);
  ASSERT_TRUE(write(0, data_.span()).ok());
  device_->note("data is down");
  must(volume_->sync(*issuer_));
  expect_flush_after(device_->history(), "data is down");
}

TEST_F(VolumeOrdering, ADsyncWriteThatWaitsForAnEarlierCommitFlushesItsOwnData) {
  make({.volatile_cache = true, .fua = true});
  ASSERT_TRUE(write(0, data_.span()).ok());
  must(volume_->sync(*issuer_));
  device_->forget();
  start_a_commit(4096);
  device_->forget();
  // An overwrite of a file whose metadata is on its way: no FUA, and nothing of its own for the
  // log.
  ASSERT_TRUE(write(0, data_.span(), KiocbFlags::dsync).ok());
  expect_flush_after(device_->history(), "write");
}

TEST_F(VolumeOrdering, ZeroingTheTailNeverHitsDataThatIsWrittenBehindIt) {
  make({.logical_block_bytes = 512});
  for (unsigned round = 0; round < 20; ++round) {
    must(file_->truncate(*issuer_, 0));
    ASSERT_TRUE(write(0, data_.span()).ok());
    must(file_->truncate(*issuer_, 1000));
    const AlignedBuffer pieces = pattern(16 * 512, round);
    std::array<Aiocb, 16> requests;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      requests[i].prepare_write(*file_, 8192 + i * 512, pieces.span().subspan(i * 512, 512));
      issuer_->submit(requests[i]);
    }
    while (issuer_->in_flight() != 0)
      issuer_->wait();
    AlignedBuffer back(8192 + 16 * 512);
    Aiocb read;
    read.prepare_read(*file_, 0, back.span());
    ASSERT_EQ(issuer_->run(read), IoResult::success(8192 + 16 * 512));
    std::vector<std::byte> expected(8192 + 16 * 512);
    std::memcpy(expected.data(), data_.data(), 1000);
    std::memcpy(expected.data() + 8192, pieces.data(), 16 * 512);
    ASSERT_EQ(bytes_of(back.span()), expected) << "round " << round;
  }
}

}  // namespace
}  // namespace handback::testing
