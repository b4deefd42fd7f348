// Goal: preallocated space is what was asked for, never shows what was on the device, and, once it
// is initialised, is overwritten without a change of metadata.
#include <algorithm>

#include "block/fault_device.h"
#include "volume/power_cut_device.h"
#include "volume/reorder_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

constexpr PreallocateOptions initialised{.mode = PreallocateMode::initialised};
constexpr PreallocateOptions initialised_and_extended{.mode = PreallocateMode::initialised,
                                                      .extend_size = true};

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

class VolumePreallocate : public ::testing::Test {
 protected:
  // Every free block holds something.
  VolumePreallocate() {
    auto filler = fixture_.create("/filler");
    const AlignedBuffer data = pattern(1 << 20, 99);
    while (fixture_.volume->info().free_bytes >= data.size())
      EXPECT_TRUE(fixture_.write(*filler, filler->size(), data.span()).ok());
    filler.reset();
    must(fixture_.volume->unlink("/filler"));
    must(fixture_.volume->sync(*fixture_.issuer));
    file_ = fixture_.create("/f");
  }
  void preallocate(std::uint64_t offset, std::uint64_t length, const PreallocateOptions& options) {
    must(file_->preallocate(*fixture_.issuer, offset, length, options));
  }

  VolumeFixture fixture_{MemoryDeviceOptions{.size_bytes = 8 << 20}};
  std::unique_ptr<VolumeFile> file_;
  AlignedBuffer data_ = pattern(64 * block, 1);
};

TEST_F(VolumePreallocate, InitialisedSpaceIsWrittenAndReadsAsZeros) {
  preallocate(0, 16 * block, initialised_and_extended);
  EXPECT_EQ(file_->size(), 16 * block);
  ASSERT_EQ(file_->extents().size(), 1U);
  EXPECT_FALSE(file_->extents()[0].unwritten);
  EXPECT_TRUE(all_zero(fixture_.contents(*file_, 0, 16 * block)));
  fixture_.kill_files(file_);
  file_ = fixture_.reopen("/f");
  EXPECT_EQ(file_->size(), 16 * block);
  EXPECT_FALSE(file_->extents().at(0).unwritten);
  EXPECT_TRUE(all_zero(fixture_.contents(*file_, 0, 16 * block)));
}

TEST_F(VolumePreallocate, WritesIntoInitialisedSpaceArePureOverwrites) {
  preallocate(0, 16 * block, initialised_and_extended);
  must(fixture_.volume->sync(*fixture_.issuer));
  const std::uint64_t log_before = fixture_.volume->info().log_used_bytes;
  ASSERT_TRUE(
      fixture_.write(*file_, 3 * block, data_.span().first(2 * block), KiocbFlags::dsync).ok());
  EXPECT_EQ(to_string(fixture_.last_reason), to_string(RouteReason::pure_overwrite));
  must(fixture_.volume->sync(*fixture_.issuer));
  EXPECT_EQ(fixture_.volume->info().log_used_bytes, log_before);
}

TEST_F(VolumePreallocate, LeavesWhatWasWrittenAndInitialisesTheRest) {
  ASSERT_TRUE(fixture_.write(*file_, 4 * block, data_.span().first(2 * block)).ok());
  must(file_->preallocate(10 * block, 2 * block));
  preallocate(block + 1, 14 * block, initialised);
  EXPECT_EQ(file_->size(), 6 * block);
  EXPECT_EQ(file_->info().allocated_bytes, 15 * block);
  for (const ExtentInfo& extent : file_->extents())
    EXPECT_FALSE(extent.unwritten);
  must(file_->truncate(*fixture_.issuer, 16 * block));
  EXPECT_TRUE(all_zero(fixture_.contents(*file_, 0, 4 * block)));
  EXPECT_EQ(fixture_.contents(*file_, 4 * block, 2 * block),
            bytes_of(data_.span().first(2 * block)));
  EXPECT_TRUE(all_zero(fixture_.contents(*file_, 6 * block, 10 * block)));
}

TEST_F(VolumePreallocate, ExtendsTheSizeWithReservedSpaceToo) {
  preallocate(2 * block, 2 * block + 100, {.extend_size = true});
  EXPECT_EQ(file_->size(), 4 * block + 100);
  EXPECT_TRUE(file_->extents().at(0).unwritten);
  EXPECT_TRUE(all_zero(fixture_.contents(*file_, 0, 4 * block)));
  // A file that is longer already stays as long as it is.
  preallocate(0, block, {.extend_size = true});
  preallocate(0, block, initialised_and_extended);
  EXPECT_EQ(file_->size(), 4 * block + 100);
}

TEST_F(VolumePreallocate, SaysNoSpaceBeforeAnythingChanges) {
  const std::uint64_t free_before = fixture_.volume->info().free_bytes;
  EXPECT_TRUE(is_error(
      file_->preallocate(*fixture_.issuer, 0, free_before + block, initialised_and_extended),
      Errc::no_space));
  EXPECT_EQ(file_->info().allocated_bytes, 0U);
  EXPECT_EQ(file_->size(), 0U);
  preallocate(0, free_before, initialised_and_extended);
  EXPECT_EQ(fixture_.volume->info().free_bytes, 0U);
  // It is the file's: writing it needs no space.
  EXPECT_TRUE(fixture_.write(*file_, free_before - block, data_.span().first(block)).ok());
}

TEST_F(VolumePreallocate, IsRefusedBeyondTheLargestFile) {
  EXPECT_TRUE(is_error(file_->preallocate(*fixture_.issuer, file_size_bytes_max, 1, initialised),
                       Errc::too_large));
  must(file_->preallocate(*fixture_.issuer, 0, 0, initialised_and_extended));
  EXPECT_EQ(file_->info().allocated_bytes, 0U);
}

TEST(VolumePreallocateFault, LeavesSpaceUnwrittenIfTheZerosFail) {
  auto memory = make_memory_device({.size_bytes = 4 << 20});
  FaultDevice device(*memory);
  auto issuer = must(Issuer::create());
  must(Volume::format(*issuer, device));
  auto volume = must(Volume::open(*issuer, device));
  auto file = must(volume->open_file(*issuer, "/f", {.create = true}));
  device.fail(BioOp::write, 1, IoResult::host_failure(5));
  EXPECT_TRUE(
      is_error(file->preallocate(*issuer, 0, 8 * block, initialised_and_extended), Errc::io));
  EXPECT_EQ(file->size(), 0U);
  ASSERT_EQ(file->extents().size(), 1U);
  EXPECT_TRUE(file->extents()[0].unwritten);
  file.reset();
  volume.reset();
  issuer->detach(device);
}

// What an initialised extent shows is on the device before the log says so, and what is zeroed for
// it is confirmed before.
TEST(VolumePreallocateOrder, ZerosAreDurableBeforeTheRecordThatShowsThem) {
  auto memory = make_memory_device({.size_bytes = 4 << 20});
  PowerCutDevice device(*memory, true, false);
  ReorderDevice ordered(device);
  auto issuer = must(Issuer::create());
  must(Volume::format(*issuer, ordered));
  auto volume = must(Volume::open(*issuer, ordered));
  auto file = must(volume->open_file(*issuer, "/f", {.create = true}));
  must(volume->sync(*issuer));
  ordered.forget();
  must(file->preallocate(*issuer, 0, 4 * block, initialised));
  must(volume->sync(*issuer));
  EXPECT_EQ(ordered.history(), (std::vector<std::string>{"write", "flush", "write", "flush"}));
  file.reset();
  volume.reset();
  issuer->detach(ordered);
}

TEST(VolumePreallocateOrder, AnUnconfirmedWriteIsConfirmedBeforeItsBlocksAreZeroed) {
  auto memory = make_memory_device({.size_bytes = 4 << 20});
  ReorderDevice ordered(*memory);
  auto issuer = must(Issuer::create());
  must(Volume::format(*issuer, ordered));
  auto volume = must(Volume::open(*issuer, ordered));
  auto file = must(volume->open_file(*issuer, "/f", {.create = true}));
  must(volume->sync(*issuer));
  const AlignedBuffer data = pattern(4 * block, 1);
  Aiocb request;
  request.prepare_write(*file, 0, data.span(), KiocbFlags::dsync);
  ASSERT_TRUE(issuer->run(request).ok());
  must(file->zero_range(*issuer, 0, 4 * block));
  ordered.forget();
  must(file->preallocate(*issuer, 0, 4 * block, initialised));
  EXPECT_EQ(ordered.history(), (std::vector<std::string>{"write", "write"}));
  file.reset();
  volume.reset();
  issuer->detach(ordered);
}

// At any moment a file that was initialised holds zeros or what was written, never what the blocks
// held before; what zero_range() left of an unconfirmed write comes back neither torn nor at all.
class VolumePreallocateCrash : public ::testing::TestWithParam<bool> {};

TEST_P(VolumePreallocateCrash, NeverShowsWhatTheBlocksHeldBefore) {
  const auto [first, count] = seeds_from_environment(2);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed);
    std::mt19937_64 random(seed);
    auto memory = make_memory_device({.size_bytes = 4 << 20});
    PowerCutDevice device(*memory, GetParam(), false);
    ReorderDevice reordered(device);
    auto issuer = must(Issuer::create());
    must(Volume::format(*issuer, reordered));
    auto volume = must(Volume::open(*issuer, reordered));
    const AlignedBuffer garbage = pattern(64 * block, 99);
    const AlignedBuffer data = pattern(block, 5);
    // 1. Blocks with something in them become free.
    auto file = must(volume->open_file(*issuer, "/garbage", {.create = true}));
    const auto write = [&](std::uint64_t offset, std::span<const std::byte> from,
                           KiocbFlags flags) {
      Aiocb request;
      request.prepare_write(*file, offset, from, flags);
      ASSERT_TRUE(issuer->run(request).ok());
    };
    for (std::uint64_t at = 0; at < 800 * block; at += garbage.size())
      write(at, garbage.span(), KiocbFlags::none);
    file.reset();
    must(volume->sync(*issuer));
    must(volume->unlink("/garbage"));
    must(volume->sync(*issuer));
    // 2. A file takes them, and a durable write of it is zeroed before it is confirmed.
    file = must(volume->open_file(*issuer, "/f", {.create = true}));
    must(volume->sync(*issuer));
    const std::uint64_t start = device.now();
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t at = (random() % 8) * block;
      must(file->preallocate(*issuer, at, (1 + random() % 8) * block, initialised_and_extended));
      write((random() % 12) * block, data.span(),
            random() % 2 == 0 ? KiocbFlags::dsync : KiocbFlags::none);
      write(file->size(), data.span(), KiocbFlags::dsync);
      const std::uint64_t last = file->size() - block;
      must(file->zero_range(*issuer, last, block));
      must(file->preallocate(*issuer, last, 2 * block, initialised_and_extended));
      if (random() % 2 == 0) must(volume->sync(*issuer));
    }
    const std::uint64_t end = device.now();
    for (int i = 0; i < 25; ++i) {
      const std::uint64_t moment = start + random() % (end - start + 1);
      SCOPED_TRACE(::testing::Message() << "moment " << moment << " of " << end << ", image " << i);
      AlignedBuffer image(memory->geometry().size_bytes);
      device.image_at(moment, random, image.span());
      auto target = make_memory_device({.size_bytes = image.size()});
      auto other = must(Issuer::create());
      auto raw = make_device_file(*target);
      Aiocb fill;
      fill.prepare_write(*raw, 0, image.span());
      ASSERT_TRUE(other->run(fill).ok());
      auto opened = must(Volume::open(*other, *target));
      auto found = must(opened->open_file(*other, "/f"));
      for (std::uint64_t at = 0; at < found->size(); at += block) {
        AlignedBuffer is(block);
        Aiocb read;
        read.prepare_read(*found, at, is.span());
        ASSERT_TRUE(other->run(read).ok());
        ASSERT_TRUE(all_zero(is.span()) || bytes_of(is.span()) == bytes_of(data.span()))
            << "at " << at;
      }
      found.reset();
      opened.reset();
      ASSERT_THAT(must(check_volume(*other, *target)).findings, ::testing::IsEmpty());
    }
    file.reset();
    volume.reset();
    issuer->detach(reordered);
  }
}

INSTANTIATE_TEST_SUITE_P(Caches, VolumePreallocateCrash, ::testing::Bool(), [](const auto& cache) {
  return cache.param ? "FlushOnly" : "WriteThrough";
});

}  // namespace
}  // namespace handback::testing
