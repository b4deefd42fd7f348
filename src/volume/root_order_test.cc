// Goal: of two roots the good one is never overwritten while the other is of no use.
// Method: a volume whose other root is damaged or one behind, as a crash between the two leaves it;
// then a checkpoint, cut off behind each of its writes, the last one torn after 512 bytes.
#include "block/decorators.h"
#include "volume/format.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

// Keeps what it is given to write, in order.
class WriteLog final : public BlockDeviceDecorator {
 public:
  struct Write {
    std::uint64_t addr;
    std::vector<std::byte> bytes;
  };
  explicit WriteLog(BlockDevice& inner_device) : BlockDeviceDecorator(inner_device) {}
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override {
    auto queue = inner().open_queue(wake_fd);
    if (!queue) return queue;
    return std::make_unique<Queue>(*this, std::move(*queue));
  }
  std::vector<Write> writes;

 private:
  class Queue final : public BlockQueueDecorator {
   public:
    Queue(WriteLog& device, std::unique_ptr<BlockQueue> inner_queue)
        : BlockQueueDecorator(std::move(inner_queue)), device_(device) {}
    void submit(Bio* chain) noexcept override {
      for (Bio* bio = chain; bio != nullptr; bio = bio->next) {
        if (bio->op != BioOp::write) continue;
        Write write{bio->addr, {}};
        for (unsigned i = 0; i < bio->segment_count; ++i) {
          const auto* at = static_cast<const std::byte*>(bio->segments[i].iov_base);
          write.bytes.insert(write.bytes.end(), at, at + bio->segments[i].iov_len);
        }
        device_.writes.push_back(std::move(write));
      }
      inner().submit(chain);
    }

   private:
    WriteLog& device_;
  };
};

class RootOrder : public ::testing::TestWithParam<std::size_t> {
 protected:
  static constexpr std::uint64_t volume_bytes = 4 << 20;

  AlignedBuffer image_of(BlockDevice& device) {
    AlignedBuffer image(volume_bytes);
    auto raw = make_device_file(device);
    Aiocb aiocb;
    aiocb.prepare_read(*raw, 0, image.span());
    EXPECT_TRUE(issuer_->run(aiocb).ok());
    return image;
  }
  void put(BlockDevice& device, std::uint64_t addr, std::span<std::byte> bytes) {
    auto raw = make_device_file(device);
    Aiocb aiocb;
    aiocb.prepare_write(*raw, addr, bytes);
    EXPECT_TRUE(issuer_->run(aiocb).ok());
  }

  // A checkpoint behind `root`, which is of no use, cut off everywhere.
  void try_everywhere(std::span<std::byte> image) {
    auto memory = make_memory_device({.size_bytes = volume_bytes});
    WriteLog device(*memory);
    put(*memory, 0, image);
    {
      auto volume = must(Volume::open(*issuer_, device));
      must(volume->mkdir("/new"));
      must(volume->close(*issuer_));
    }
    ASSERT_GE(device.writes.size(), 3U);
    auto cut = make_memory_device({.size_bytes = volume_bytes, .logical_block_bytes = 512});
    for (std::size_t last = 0; last < device.writes.size(); ++last) {
      // Behind a sector, and inside it: what a root says is in its first 512 bytes.
      for (const std::size_t torn_bytes : {sector, std::size_t{80}}) {
        AlignedBuffer state(volume_bytes);
        std::memcpy(state.data(), image.data(), volume_bytes);
        for (std::size_t i = 0; i <= last; ++i) {
          const WriteLog::Write& write = device.writes[i];
          std::memcpy(state.data() + write.addr, write.bytes.data(),
                      i == last ? torn_bytes : write.bytes.size());
        }
        put(*cut, 0, state.span());
        auto opened = Volume::open(*issuer_, *cut, {.read_only = true});
        ASSERT_TRUE(opened) << "cut off after " << torn_bytes << " bytes of write " << last << ": "
                            << opened.error().message();
        EXPECT_TRUE((*opened)->stat("/old"));
      }
    }
    issuer_->detach(*cut);
    issuer_->detach(device);
  }

  std::unique_ptr<Issuer> issuer_ = must(Issuer::create());
};

TEST_P(RootOrder, ACheckpointBehindADamagedOrOlderRootCanBeCutOffAnywhere) {
  const std::size_t bad = GetParam();
  auto memory = make_memory_device({.size_bytes = volume_bytes});
  must(Volume::format(*issuer_, *memory));
  const AlignedBuffer before = image_of(*memory);
  {
    auto volume = must(Volume::open(*issuer_, *memory));
    must(volume->mkdir("/old"));
    must(volume->close(*issuer_));
  }
  AlignedBuffer image = image_of(*memory);
  issuer_->detach(*memory);
  std::byte* const root = image.data() + root_blocks[bad] * fs_block;
  std::memcpy(root, before.data() + root_blocks[bad] * fs_block, fs_block);
  try_everywhere(image.span());
  root[100] ^= std::byte{1};
  try_everywhere(image.span());
}

INSTANTIATE_TEST_SUITE_P(Volume, RootOrder, ::testing::Values(0, 1));

}  // namespace
}  // namespace handback::testing
