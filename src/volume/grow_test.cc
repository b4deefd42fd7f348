// Goal: a volume grows, keeps what it holds, and a power cut at any moment of it leaves it as it
// was or grown. The larger device holds garbage where the volume did not reach.
#include <algorithm>

#include "block/decorators.h"
#include "volume/format.h"
#include "volume/power_cut_device.h"
#include "volume/superblock.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

constexpr std::uint64_t small_bytes = 4 << 20;
constexpr std::uint64_t large_bytes = 8 << 20;

void fill_device(Issuer& issuer, BlockDevice& device, std::span<const std::byte> from) {
  auto raw = make_device_file(device);
  Aiocb fill;
  fill.prepare_write(*raw, 0, from);
  ASSERT_TRUE(issuer.run(fill).ok());
}

std::vector<std::byte> read_device(Issuer& issuer, BlockDevice& device) {
  AlignedBuffer all(device.geometry().size_bytes);
  auto raw = make_device_file(device);
  Aiocb read;
  read.prepare_read(*raw, 0, all.span());
  EXPECT_TRUE(issuer.run(read).ok());
  return bytes_of(all.span());
}

// The bytes of a small volume with a file, in front of garbage.
std::vector<std::byte> grown_device() {
  VolumeFixture fixture(MemoryDeviceOptions{.size_bytes = small_bytes});
  auto file = fixture.create("/f");
  const AlignedBuffer data = pattern(64 << 10, 1);
  EXPECT_TRUE(fixture.write(*file, 0, data.span()).ok());
  fixture.kill_files(file);
  file = fixture.create("/in-the-log");
  EXPECT_TRUE(fixture.write(*file, 0, data.span().first(block), KiocbFlags::dsync).ok());
  file.reset();
  fixture.kill();
  std::vector<std::byte> bytes = read_device(*fixture.issuer, *fixture.device);
  bytes.resize(large_bytes);
  fill_pattern(std::span(bytes).subspan(small_bytes), 77);
  return bytes;
}

void expect_holds_its_files(Volume& volume, Issuer& issuer) {
  auto file = must(volume.open_file(issuer, "/f"));
  AlignedBuffer is(64 << 10);
  Aiocb read;
  read.prepare_read(*file, 0, is.span());
  ASSERT_TRUE(issuer.run(read).ok());
  EXPECT_EQ(bytes_of(is.span()), bytes_of(pattern(64 << 10, 1).span()));
  EXPECT_EQ(must(volume.stat("/in-the-log")).size_bytes, block);
}

class VolumeGrow : public ::testing::Test {
 protected:
  VolumeGrow() {
    AlignedBuffer bytes(large_bytes);
    const auto from = grown_device();
    std::copy(from.begin(), from.end(), bytes.data());
    fill_device(*issuer_, *device_, bytes.span());
  }

  std::unique_ptr<BlockDevice> device_ = make_memory_device({.size_bytes = large_bytes});
  std::unique_ptr<Issuer> issuer_ = must(Issuer::create());
};

TEST_F(VolumeGrow, GivesFilesAllOfTheLargerDevice) {
  auto volume = must(Volume::open(*issuer_, *device_));
  const std::uint64_t free_before = volume->info().free_bytes;
  const VolumeInfo small = volume->info();
  EXPECT_EQ(small.size_bytes, small_bytes);
  volume.reset();
  EXPECT_EQ(must(Volume::grow(*issuer_, *device_)), large_bytes);
  volume = must(Volume::open(*issuer_, *device_));
  const VolumeInfo large = volume->info();
  EXPECT_EQ(large.size_bytes, large_bytes);
  EXPECT_EQ(large.free_bytes, free_before + (large_bytes - small_bytes));
  EXPECT_EQ(large.metadata_bytes_max, small.metadata_bytes_max);
  EXPECT_EQ(large.log_bytes, small.log_bytes);
  EXPECT_EQ(large.id, small.id);
  expect_holds_its_files(*volume, *issuer_);
  // To the last block, and nothing of what lay there is seen.
  auto file = must(volume->open_file(*issuer_, "/all", {.create = true}));
  must(file->preallocate(0, large.free_bytes));
  EXPECT_EQ(volume->info().free_bytes, 0U);
  must(file->truncate(*issuer_, large.free_bytes));
  AlignedBuffer last(block);
  Aiocb read;
  read.prepare_read(*file, large.free_bytes - block, last.span());
  ASSERT_TRUE(issuer_->run(read).ok());
  EXPECT_TRUE(std::all_of(last.data(), last.data() + block,
                          [](std::byte byte) { return byte == std::byte{0}; }));
  file.reset();
  must(volume->close(*issuer_));
  volume.reset();
  EXPECT_THAT(must(check_volume(*issuer_, *device_)).findings, ::testing::IsEmpty());
  // Nothing is left to gain.
  const auto before = read_device(*issuer_, *device_);
  EXPECT_EQ(must(Volume::grow(*issuer_, *device_)), large_bytes);
  EXPECT_EQ(read_device(*issuer_, *device_), before);
}

TEST_F(VolumeGrow, IsRefusedWhileTheVolumeIsOpen) {
  auto volume = must(Volume::open(*issuer_, *device_));
  EXPECT_TRUE(is_error(Volume::grow(*issuer_, *device_), Errc::busy));
}

TEST_F(VolumeGrow, KeepsASecondSuperblockAtTheNewEnd) {
  must(Volume::grow(*issuer_, *device_));
  AlignedBuffer zeros(block);
  std::memset(zeros.data(), 0, block);
  fill_device(*issuer_, *device_, zeros.span());
  auto volume = must(Volume::open(*issuer_, *device_));
  EXPECT_TRUE(volume->recovery().backup_superblock_used);
  EXPECT_EQ(volume->info().size_bytes, large_bytes);
  expect_holds_its_files(*volume, *issuer_);
  volume.reset();
  // Growing again, without anything to gain, makes block 0 whole.
  must(Volume::grow(*issuer_, *device_));
  volume = must(Volume::open(*issuer_, *device_));
  EXPECT_FALSE(volume->recovery().backup_superblock_used);
}

TEST_F(VolumeGrow, MarksTheVolumeSoThatOlderProgramsRefuseIt) {
  must(Volume::grow(*issuer_, *device_));
  const auto bytes = read_device(*issuer_, *device_);
  const Superblock superblock = must(superblock_decode(std::span(bytes).first(block), 0));
  EXPECT_EQ(superblock.incompatible_features, feature_grown);
  EXPECT_EQ(superblock.formatted_blocks, small_bytes / block);
  EXPECT_EQ(superblock.layout, layout_grown(small_bytes / block, large_bytes / block));
}

TEST_F(VolumeGrow, RefusesASuperblockWhoseFormattedSizeCannotBe) {
  const auto bytes = read_device(*issuer_, *device_);
  Superblock superblock = must(superblock_decode(std::span(bytes).first(block), 0));
  superblock.incompatible_features = feature_grown;
  AlignedBuffer encoded(block);
  const auto refused = [&](std::uint64_t formatted, std::uint64_t total) {
    superblock.formatted_blocks = formatted;
    superblock.layout = layout_grown(std::max<std::uint64_t>(formatted, 1024), total);
    superblock_encode(superblock, 0, encoded.span());
    return is_error(superblock_decode(encoded.span(), 0), Errc::damaged);
  };
  EXPECT_TRUE(refused(0, 2048));
  EXPECT_TRUE(refused(1023, 2048));
  EXPECT_TRUE(refused(2048, 2048));
  EXPECT_TRUE(refused(4096, 2048));
  EXPECT_FALSE(refused(1024, 2048));
}

class VolumeGrowCrash : public ::testing::TestWithParam<CacheCase> {};

TEST_P(VolumeGrowCrash, LeavesTheVolumeAsItWasOrGrownAtAnyMoment) {
  // Sectors of 512 bytes: block 0 can be torn.
  const MemoryDeviceOptions options{.size_bytes = large_bytes, .logical_block_bytes = 512};
  const std::vector<std::byte> before = grown_device();
  auto memory = make_memory_device(options);
  auto issuer = must(Issuer::create());
  AlignedBuffer bytes(large_bytes);
  std::copy(before.begin(), before.end(), bytes.data());
  fill_device(*issuer, *memory, bytes.span());
  PowerCutDevice device(*memory, GetParam().volatile_cache, false);
  must(Volume::grow(*issuer, device));
  issuer->detach(device);
  std::uint64_t grown = 0;
  std::uint64_t small = 0;
  // Two writes and two flushes at most come last; before them are reads.
  for (std::uint64_t moment = device.now() - 9; moment <= device.now(); ++moment) {
    for (std::uint64_t image_seed = 0; image_seed < 6; ++image_seed) {
      SCOPED_TRACE(::testing::Message() << "moment " << moment << ", image seed " << image_seed);
      std::mt19937_64 random(image_seed);
      std::copy(before.begin(), before.end(), bytes.data());
      device.lay_over(moment, random, bytes.span());
      auto target = make_memory_device(options);
      fill_device(*issuer, *target, bytes.span());
      auto opened = Volume::open(*issuer, *target);
      ASSERT_TRUE(opened) << opened.error().message();
      const std::uint64_t size = (*opened)->info().size_bytes;
      ASSERT_TRUE(size == small_bytes || size == large_bytes);
      ++(size == small_bytes ? small : grown);
      ASSERT_NO_FATAL_FAILURE(expect_holds_its_files(**opened, *issuer));
      opened->reset();
      // Where block 0 says that it has grown, the copy at the new end is there.
      EXPECT_THAT(must(check_volume(*issuer, *target)).findings, ::testing::IsEmpty());
      // Once more: nested recovery of a grow is another grow.
      ASSERT_EQ(must(Volume::grow(*issuer, *target)), large_bytes);
      opened = Volume::open(*issuer, *target);
      ASSERT_TRUE(opened) << opened.error().message();
      ASSERT_NO_FATAL_FAILURE(expect_holds_its_files(**opened, *issuer));
      opened->reset();
      EXPECT_THAT(must(check_volume(*issuer, *target)).findings, ::testing::IsEmpty());
      issuer->detach(*target);
    }
  }
  EXPECT_GT(small, 0U);
  EXPECT_GT(grown, 0U);
}

INSTANTIATE_TEST_SUITE_P(Caches, VolumeGrowCrash,
                         ::testing::Values(CacheCase{"WriteThrough", false},
                                           CacheCase{"VolatileCache", true}),
                         [](const auto& caches) { return caches.param.name; });

}  // namespace
}  // namespace handback::testing
