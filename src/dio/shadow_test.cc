// Random requests against a file kept in plain memory. Every byte of every read, of the file in the
// end, and of the device outside the file's blocks is compared.
#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

struct ShadowCase {
  std::uint32_t logical_block;
  std::uint32_t fs_block;
  std::uint32_t transfer_max;
};

class DioShadow : public ::testing::TestWithParam<ShadowCase> {
 protected:
  static constexpr std::uint64_t file_blocks = 24;  // Fs blocks.

  DioShadow() : random_(announce_seed()), rig_(geometry(), GetParam().fs_block) {
    fill_random(rig_.device.bytes, random_());
    garbage_ = rig_.device.bytes;
    shadow_.resize(file_blocks * GetParam().fs_block);
    for (std::uint64_t i = 0; i < 2 * file_blocks; ++i)
      free_.push_back(i * GetParam().fs_block);
    std::shuffle(free_.begin(), free_.end(), random_);
    rig_.file.blocks.resize(file_blocks);
    rig_.file.recording = false;
  }
  static Geometry geometry() {
    Geometry geometry = FakeDevice::default_geometry();
    geometry.size_bytes = 2 * file_blocks * GetParam().fs_block;
    geometry.logical_block_bytes = GetParam().logical_block;
    geometry.transfer_bytes_max = GetParam().transfer_max;
    return geometry;
  }

  struct Range {
    std::uint64_t offset;
    std::uint32_t length;
  };
  Range random_range() {
    const std::uint32_t unit = GetParam().logical_block;
    const std::uint64_t units = shadow_.size() / unit;
    const std::uint64_t first = random_() % units;
    const std::uint64_t most =
        std::min<std::uint64_t>(units - first, 3 * GetParam().fs_block / unit);
    return {first * unit, static_cast<std::uint32_t>((1 + random_() % most) * unit)};
  }
  // `length` bytes of `memory` in random whole pieces, some empty.
  std::vector<iovec> random_segments(std::byte* memory, std::uint32_t length) {
    std::vector<iovec> segments;
    const std::uint32_t unit = GetParam().logical_block;
    while (length != 0) {
      if (random_() % 8 == 0) segments.push_back({memory, 0});
      const auto piece = static_cast<std::uint32_t>(
          random_() % 3 == 0 ? length : (1 + random_() % (length / unit)) * unit);
      segments.push_back({memory, piece});
      memory += piece;
      length -= piece;
    }
    return segments;
  }

  // Blocks for what a write touches, of one of the kinds that hold nothing valid.
  void allocate(const Range& range) {
    const std::uint64_t fs_block = GetParam().fs_block;
    for (std::uint64_t block = range.offset / fs_block;
         block * fs_block < range.offset + range.length; ++block) {
      FakeBlock& mapping = rig_.file.blocks[block];
      if (mapping.type != IomapType::hole) continue;
      mapping.new_extent = random_() % 2 == 0;
      mapping.type = mapping.new_extent ? IomapType::mapped : IomapType::unwritten;
      mapping.addr = free_.back();
      free_.pop_back();
    }
  }

  void write() {
    const Range range = random_range();
    allocate(range);
    AlignedBuffer buffer = random_buffer(range.length, random_());
    const std::vector<iovec> segments = random_segments(buffer.data(), range.length);
    Aiocb aiocb;
    const KiocbFlags flags = random_() % 4 == 0 ? KiocbFlags::dsync : KiocbFlags::none;
    aiocb.prepare_writev(rig_.file, range.offset,
                         IovView{segments.data(), static_cast<std::uint32_t>(segments.size())},
                         flags);
    ASSERT_EQ(rig_.run(aiocb), IoResult::success(range.length));
    std::memcpy(shadow_.data() + range.offset, buffer.data(), range.length);
  }

  void read() {
    const Range range = random_range();
    AlignedBuffer buffer = random_buffer(range.length, random_());
    std::vector<std::byte> expected = copy_of(buffer.span().first(range.length));
    const std::uint64_t size = rig_.file.size.load();
    const std::uint64_t readable =
        size > range.offset ? std::min<std::uint64_t>(range.length, size - range.offset) : 0;
    std::memcpy(expected.data(), shadow_.data() + range.offset, readable);
    const std::vector<iovec> segments = random_segments(buffer.data(), range.length);
    Aiocb aiocb;
    aiocb.prepare_readv(rig_.file, range.offset,
                        IovView{segments.data(), static_cast<std::uint32_t>(segments.size())});
    ASSERT_EQ(rig_.run(aiocb), IoResult::success(static_cast<std::uint32_t>(readable)));
    ASSERT_TRUE(same_bytes(copy_of(buffer.span().first(range.length)), expected));
  }

  std::mt19937_64 random_;
  FakeRig rig_;
  std::vector<std::byte> garbage_;
  std::vector<std::byte> shadow_;
  std::vector<std::uint64_t> free_;
};

TEST_P(DioShadow, HoldsWhatTheFileAndTheRestOfTheDeviceMustHold) {
  for (int step = 0; step < 300; ++step) {
    if (random_() % 2 == 0) {
      write();
    } else {
      read();
    }
    if (HasFatalFailure()) return;
  }
  const std::uint64_t size = rig_.file.size.load();
  AlignedBuffer whole(size);
  ASSERT_EQ(rig_.read(0, whole.span()), IoResult::success(static_cast<std::uint32_t>(size)));
  EXPECT_TRUE(
      same_bytes(copy_of(whole.span().first(size)), copy_of(std::span(shadow_).first(size))));
  // Where no block of the file lies, nothing has changed.
  std::vector<std::byte> expected = rig_.device.bytes;
  for (const std::uint64_t addr : free_) {
    const auto from = garbage_.begin() + static_cast<std::ptrdiff_t>(addr);
    std::copy(from, from + GetParam().fs_block,
              expected.begin() + static_cast<std::ptrdiff_t>(addr));
  }
  EXPECT_TRUE(same_bytes(rig_.device.bytes, expected));
  EXPECT_EQ(rig_.file.inflight.count(), 0U);
}

std::string shadow_name(const ::testing::TestParamInfo<ShadowCase>& of) {
  return "Logical" + std::to_string(of.param.logical_block) + "Fs" +
         std::to_string(of.param.fs_block) + "Transfer" + std::to_string(of.param.transfer_max);
}

INSTANTIATE_TEST_SUITE_P(Dio, DioShadow,
                         ::testing::Values(ShadowCase{512, 512, 1U << 20},
                                           ShadowCase{512, 4096, 1U << 20},
                                           ShadowCase{512, 4096, 1536},
                                           ShadowCase{4096, 4096, 4096},
                                           ShadowCase{4096, 16384, 8192}),
                         shadow_name);

}  // namespace
}  // namespace handback::testing
