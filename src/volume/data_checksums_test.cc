// Checksums of data: what is found, what is not, and that nothing is found that is not there.
#include <map>

#include "block/fault_device.h"
#include "volume/data_checksums.h"
#include "volume/journal.h"
#include "volume/power_cut_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

constexpr IoResult damaged = IoResult::failure(Errc::damaged, IoDetail::data_checksum);

class DataChecksumsTest : public ::testing::Test {
 protected:
  explicit DataChecksumsTest(const MemoryDeviceOptions& device = {.size_bytes = 16 << 20})
      : fixture_(device, {.data_checksums = true}), data_(pattern(16 * block, 1)) {}

  std::unique_ptr<VolumeFile> written(const std::string& path, std::size_t blocks) {
    auto file = fixture_.create(path);
    EXPECT_TRUE(fixture_.write(*file, 0, data_.span().first(blocks * block)).ok());
    return file;
  }
  // Where a block of the file lies on the device.
  static std::uint64_t addr_of(const VolumeFile& file, std::uint64_t at) {
    for (const ExtentInfo& extent : file.extents()) {
      if (at * block >= extent.offset && at * block < extent.offset + extent.length)
        return extent.addr + (at * block - extent.offset);
    }
    ADD_FAILURE() << "a hole";
    return 0;
  }
  // Changes one bit on the device, behind the volume's back.
  void rot(std::uint64_t addr) {
    auto raw = make_device_file(*fixture_.device);
    AlignedBuffer bytes(block);
    const std::uint64_t start = addr / block * block;
    Aiocb read;
    read.prepare_read(*raw, start, bytes.span());
    ASSERT_TRUE(fixture_.issuer->run(read).ok());
    bytes.data()[addr - start] ^= std::byte{4};
    Aiocb write;
    write.prepare_write(*raw, start, bytes.span());
    ASSERT_TRUE(fixture_.issuer->run(write).ok());
  }
  IoResult read(VolumeFile& file, std::uint64_t at, std::size_t blocks = 1) {
    AlignedBuffer buffer(blocks * block);
    return fixture_.read(file, at * block, buffer.span());
  }
  // Opened after a clean close.
  std::unique_ptr<VolumeFile> again(std::unique_ptr<VolumeFile> file, const std::string& path) {
    file.reset();
    fixture_.close();
    fixture_.open();
    EXPECT_EQ(fixture_.volume->recovery().checksum_pages_stale, 0U);
    EXPECT_EQ(fixture_.volume->recovery().checksum_pages_damaged, 0U);
    return fixture_.reopen(path);
  }

  VolumeFixture fixture_;
  AlignedBuffer data_;
};

TEST_F(DataChecksumsTest, AreAPropertyOfTheVolume) {
  EXPECT_TRUE(fixture_.volume->info().data_checksums);
  EXPECT_FALSE(VolumeFixture().volume->info().data_checksums);
}

TEST_F(DataChecksumsTest, FailAReadOfABlockThatHasDecayedAndOfNoOther) {
  auto file = written("/a", 8);
  rot(addr_of(*file, 3) + 1000);
  EXPECT_EQ(read(*file, 3), damaged);
  EXPECT_EQ(read(*file, 0, 8), damaged);
  EXPECT_EQ(read(*file, 0, 3), IoResult::success(3 * block));
  EXPECT_EQ(read(*file, 4, 4), IoResult::success(4 * block));
}

TEST_F(DataChecksumsTest, SurviveACloseAndAnOpen) {
  auto file = again(written("/a", 8), "/a");
  EXPECT_EQ(read(*file, 0, 8), IoResult::success(8 * block));
  rot(addr_of(*file, 7));
  EXPECT_EQ(read(*file, 7), damaged);
}

TEST_F(DataChecksumsTest, AreUnknownAfterAKillUntilTheBlocksAreWrittenAgain) {
  auto file = written("/a", 8);
  fixture_.kill_files(file);
  EXPECT_EQ(fixture_.volume->recovery().checksum_pages_stale, 1U);
  file = fixture_.reopen("/a");
  rot(addr_of(*file, 2));
  rot(addr_of(*file, 3));
  EXPECT_EQ(read(*file, 0, 8), IoResult::success(8 * block));
  ASSERT_TRUE(fixture_.write(*file, 3 * block, data_.span().first(block)).ok());
  rot(addr_of(*file, 3));
  EXPECT_EQ(read(*file, 2), IoResult::success(block));
  EXPECT_EQ(read(*file, 3), damaged);
}

TEST_F(DataChecksumsTest, FollowAnOverwriteInPlace) {
  auto file = again(written("/a", 8), "/a");
  const AlignedBuffer other = pattern(block, 2);
  for (const KiocbFlags flags : {KiocbFlags::none, KiocbFlags::dsync}) {
    ASSERT_EQ(fixture_.write(*file, 5 * block, other.span(), flags), IoResult::success(block));
    EXPECT_EQ(read(*file, 0, 8), IoResult::success(8 * block));
  }
  // The data that was there before is not what was written last.
  rot(addr_of(*file, 5));
  EXPECT_EQ(read(*file, 5), damaged);
}

TEST_F(DataChecksumsTest, OfABlockThatIsWrittenAnewAreKnownAgain) {
  auto file = written("/a", 2);
  rot(addr_of(*file, 1));
  ASSERT_EQ(read(*file, 1), damaged);
  ASSERT_TRUE(fixture_.write(*file, block, data_.span().first(block)).ok());
  EXPECT_EQ(read(*file, 1), IoResult::success(block));
}

// Of a page once for each checkpoint, and no more.
TEST_F(DataChecksumsTest, CostAnOverwriteOneRecordForEachPage) {
  auto file = again(written("/a", 8), "/a");
  const auto used = [&] { return fixture_.volume->info().log_used_bytes; };
  ASSERT_EQ(used(), 0U);
  ASSERT_TRUE(fixture_.write(*file, 0, data_.span().first(block)).ok());
  EXPECT_EQ(used(), block);
  for (std::uint64_t at = 0; at < 8; ++at)
    ASSERT_TRUE(fixture_.write(*file, at * block, data_.span().first(block)).ok());
  EXPECT_EQ(used(), block);
}

// Blocks that are new are named by no durable metadata, whatever stands in the open record.
TEST_F(DataChecksumsTest, LetAppendsWaitForNoRecord) {
  auto file = fixture_.create("/a");
  for (std::uint64_t at = 0; at < 8; ++at)
    ASSERT_TRUE(fixture_.write(*file, at * block, data_.span().first(block)).ok());
  must(file->preallocate(64 * block, 8 * block));
  for (std::uint64_t at = 64; at < 72; ++at)
    ASSERT_TRUE(fixture_.write(*file, at * block, data_.span().first(block)).ok());
  EXPECT_EQ(fixture_.volume->info().log_used_bytes, 0U);
}

// Durable metadata still calls it written, with the checksum of what was there.
TEST_F(DataChecksumsTest, LetAWriteToWhatWasZeroedWaitForTheMark) {
  auto file = again(written("/a", 8), "/a");
  must(file->zero_range(*fixture_.issuer, 2 * block, block));
  EXPECT_EQ(fixture_.volume->info().log_used_bytes, 0U);
  const AlignedBuffer other = pattern(block, 2);
  ASSERT_TRUE(fixture_.write(*file, 2 * block, other.span()).ok());
  EXPECT_EQ(fixture_.volume->info().log_used_bytes, block);
}

TEST_F(DataChecksumsTest, RefuseNowaitTheFirstOverwriteOfAPage) {
  auto file = again(written("/a", 8), "/a");
  const auto overwrite = [&] {
    return fixture_.write(*file, 0, data_.span().first(block), KiocbFlags::nowait);
  };
  EXPECT_EQ(overwrite(), IoResult::failure(Errc::would_block));
  must(fixture_.volume->sync(*fixture_.issuer));
  EXPECT_EQ(overwrite(), IoResult::success(block));
}

TEST_F(DataChecksumsTest, KnowTheZerosOfInitialisedSpaceAndNothingOfReservedSpace) {
  auto file = fixture_.create("/a");
  must(file->preallocate(*fixture_.issuer, 0, 8 * block,
                         {.mode = PreallocateMode::initialised, .extend_size = true}));
  must(file->preallocate(*fixture_.issuer, 8 * block, 8 * block, {.extend_size = true}));
  EXPECT_EQ(read(*file, 0, 16), IoResult::success(16 * block));
  rot(addr_of(*file, 9));
  EXPECT_EQ(read(*file, 9), IoResult::success(block));
  rot(addr_of(*file, 1));
  EXPECT_EQ(read(*file, 1), damaged);
}

TEST_F(DataChecksumsTest, ForgetWhatIsPunchedAndZeroed) {
  auto file = again(written("/a", 8), "/a");
  must(file->punch(*fixture_.issuer, block / 2, 2 * block));
  must(file->zero_range(*fixture_.issuer, 4 * block, block));
  EXPECT_EQ(read(*file, 0, 8), IoResult::success(8 * block));
  file = again(std::move(file), "/a");
  EXPECT_EQ(read(*file, 0, 8), IoResult::success(8 * block));
  ASSERT_TRUE(fixture_.write(*file, 0, data_.span()).ok());
  rot(addr_of(*file, 4));
  EXPECT_EQ(read(*file, 4), damaged);
}

TEST_F(DataChecksumsTest, HoldBlocksThatChangeTheirOwner) {
  auto file = written("/a", 16);
  file.reset();
  must(fixture_.volume->unlink("/a"));
  must(fixture_.volume->sync(*fixture_.issuer));
  // All of the volume, so that these blocks are used again.
  auto other = fixture_.create("/b");
  const AlignedBuffer large = pattern(1 << 20, 7);
  std::uint64_t at = 0;
  while (fixture_.write(*other, at, large.span()).ok())
    at += large.size();
  other = again(std::move(other), "/b");
  for (std::uint64_t from = 0; from < at; from += large.size()) {
    EXPECT_EQ(read(*other, from / block, large.size() / block),
              IoResult::success(static_cast<std::uint32_t>(large.size())));
  }
}

TEST_F(DataChecksumsTest, OfAFileWithoutANameAreSettledByACleanClose) {
  auto file = written("/a", 4);
  must(fixture_.volume->unlink("/a"));
  ASSERT_TRUE(fixture_.write(*file, 0, data_.span()).ok());
  auto other = written("/b", 4);
  file.reset();
  other = again(std::move(other), "/b");
  rot(addr_of(*other, 0));
  EXPECT_EQ(read(*other, 0), damaged);
}

TEST_F(DataChecksumsTest, LetAVolumeNotGrow) {
  auto small = make_memory_device({.size_bytes = 8 << 20});
  must(Volume::format(*fixture_.issuer, *small, {.data_checksums = true}));
  auto large = make_memory_device({.size_bytes = 16 << 20});
  auto from = make_device_file(*small);
  auto to = make_device_file(*large);
  AlignedBuffer all(8 << 20);
  Aiocb read_all;
  read_all.prepare_read(*from, 0, all.span());
  ASSERT_TRUE(fixture_.issuer->run(read_all).ok());
  Aiocb write_all;
  write_all.prepare_write(*to, 0, all.span());
  ASSERT_TRUE(fixture_.issuer->run(write_all).ok());
  EXPECT_TRUE(is_error(Volume::grow(*fixture_.issuer, *large), Errc::not_supported));
}

TEST_F(DataChecksumsTest, AreCheckedWithTheDataIfThatIsAskedFor) {
  auto file = written("/a", 8);
  must(fixture_.volume->mkdir("/d"));
  must(fixture_.volume->link("/a", "/d/b"));
  must(fixture_.volume->unlink("/a"));
  const std::uint64_t addr = addr_of(*file, 6);
  file.reset();
  fixture_.close();
  rot(addr);
  EXPECT_THAT(must(check_volume(*fixture_.issuer, *fixture_.device)).findings,
              ::testing::IsEmpty());
  const CheckReport report = must(check_volume(*fixture_.issuer, *fixture_.device, {.data = true}));
  ASSERT_EQ(report.findings.size(), 1U);
  EXPECT_EQ(report.findings[0].structure, "data");
  EXPECT_EQ(report.findings[0].block, addr / block);
  EXPECT_EQ(report.findings[0].field, "inode 2 ('/d/b'), bytes 24576 to 28671");
  EXPECT_FALSE(report.findings[0].refuses_open);
}

// A page that decayed costs its checksums, and nothing else; the next checkpoint makes it anew.
TEST_F(DataChecksumsTest, OfAPageThatHasDecayedAreUnknownAndCheckSaysSo) {
  auto file = written("/a", 8);
  const std::uint64_t data_start = (16 << 20) - block - fixture_.volume->info().data_bytes;
  file.reset();
  fixture_.close();
  rot(data_start - block + 100);
  // The volume has four pages; the file lies in the first.
  rot(data_start - 4 * block + 100);
  const CheckReport report = must(check_volume(*fixture_.issuer, *fixture_.device));
  ASSERT_EQ(report.findings.size(), 1U);
  EXPECT_EQ(report.findings[0].structure, "checksum page");
  EXPECT_EQ(report.findings[0].block, data_start / block - 4);
  EXPECT_EQ(report.findings[0].field, "page 0, checksum");
  EXPECT_FALSE(report.findings[0].refuses_open);
  fixture_.open();
  EXPECT_EQ(fixture_.volume->recovery().checksum_pages_damaged, 1U);
  file = fixture_.reopen("/a");
  rot(addr_of(*file, 0));
  EXPECT_EQ(read(*file, 0, 8), IoResult::success(8 * block));
  ASSERT_TRUE(fixture_.write(*file, block, data_.span().first(block)).ok());
  file = again(std::move(file), "/a");
}

// Reads and writes of one block are never in flight together: a read would get parts of both.
class ChecksumsInFlight : public DataChecksumsTest {};

TEST_F(ChecksumsInFlight, KeepReadsOutOfBlocksThatAreBeingWritten) {
  auto file = again(written("/a", 8), "/a");
  ASSERT_TRUE(fixture_.write(*file, 0, data_.span().first(block)).ok());
  bool done = false;
  Aiocb write;
  write.prepare_write(
      *file, 0, data_.span().subspan(8 * block, 4 * block), KiocbFlags::none,
      [](Aiocb& ended) noexcept { *static_cast<bool*>(ended.context) = true; }, &done);
  fixture_.issuer->submit(write);
  AlignedBuffer buffer(block);
  Aiocb overlapping;
  overlapping.prepare_read(*file, 3 * block, buffer.span());
  overlapping.ki_flags = overlapping.ki_flags | KiocbFlags::nowait;
  EXPECT_EQ(fixture_.issuer->run(overlapping), IoResult::failure(Errc::would_block));
  Aiocb elsewhere;
  elsewhere.prepare_read(*file, 4 * block, buffer.span());
  elsewhere.ki_flags = elsewhere.ki_flags | KiocbFlags::nowait;
  EXPECT_EQ(fixture_.issuer->run(elsewhere), IoResult::success(block));
  while (!done)
    fixture_.issuer->wait();
  EXPECT_EQ(read(*file, 0, 8), IoResult::success(8 * block));
}

TEST(DataChecksumFaults, AWriteThatFailedLeavesNothingKnown) {
  auto memory = make_memory_device({.size_bytes = 16 << 20});
  auto device = std::make_unique<FaultDevice>(*memory);
  FaultDevice& faults = *device;
  VolumeFixture fixture(std::move(device), {.data_checksums = true});
  const AlignedBuffer data = pattern(4 * block, 1);
  auto file = fixture.create("/a");
  ASSERT_TRUE(fixture.write(*file, 0, data.span()).ok());
  must(fixture.volume->sync(*fixture.issuer));
  faults.fail(BioOp::write, 1, IoResult::host_failure(eio));
  const AlignedBuffer other = pattern(block, 2);
  ASSERT_EQ(fixture.write(*file, block, other.span()), IoResult::host_failure(eio));
  AlignedBuffer buffer(4 * block);
  EXPECT_EQ(fixture.read(*file, 0, buffer.span()), IoResult::success(4 * block));
}

TEST_F(DataChecksumsTest, AreTakenOverSegmentsOfAnyLength) {
  MemoryDeviceOptions options{.size_bytes = 16 << 20, .logical_block_bytes = 512};
  options.transfer_bytes_max = 3 * 512;
  VolumeFixture fixture(options, {.data_checksums = true});
  auto file = fixture.create("/a");
  const AlignedBuffer data = pattern(8 * block, 3);
  // From inside a block to inside another.
  ASSERT_TRUE(fixture.write(*file, 0, data.span()).ok());
  ASSERT_TRUE(fixture.write(*file, 512, data.span().first(3 * block)).ok());
  AlignedBuffer buffer(8 * block);
  EXPECT_EQ(fixture.read(*file, 0, buffer.span()), IoResult::success(8 * block));
  EXPECT_EQ(fixture.read(*file, 1024, buffer.span().first(5 * block)),
            IoResult::success(5 * block));
  file.reset();
  fixture.close();
  EXPECT_THAT(must(check_volume(*fixture.issuer, *fixture.device, {.data = true})).findings,
              ::testing::IsEmpty());
}

// The checkpoint has written the page home already when the block changes again; only its list says
// so, since the record with the mark goes with the checkpoint.
TEST_F(DataChecksumsTest, OfAPageThatChangedUnderACheckpointAreUnknownAfterIt) {
  auto file = again(written("/a", 8), "/a");
  ASSERT_TRUE(fixture_.write(*file, 0, data_.span().first(block)).ok());
  const std::size_t slice_bytes = checkpoint_slice_bytes.exchange(1);
  const std::uint64_t generation = fixture_.volume->info().checkpoint_generation;
  for (int i = 0; i < 64 && !fixture_.volume->info().checkpoint_running; ++i) {
    must(fixture_.volume->mkdir("/d" + std::to_string(i)));
    must(fixture_.volume->sync(*fixture_.issuer));
  }
  ASSERT_TRUE(fixture_.volume->info().checkpoint_running);
  for (std::uint64_t i = 0; i < 8; ++i) {
    const AlignedBuffer other = pattern(block, 100 + i);
    ASSERT_TRUE(fixture_.write(*file, 0, other.span()).ok());
  }
  ASSERT_TRUE(fixture_.volume->info().checkpoint_running);
  ASSERT_EQ(fixture_.volume->info().checkpoint_generation, generation);
  while (fixture_.volume->info().checkpoint_running)
    fixture_.issuer->poll();
  checkpoint_slice_bytes = slice_bytes;
  EXPECT_EQ(fixture_.volume->info().checkpoint_generation, generation + 1);
  file.reset();
  fixture_.kill();
  fixture_.open();
  EXPECT_EQ(fixture_.volume->recovery().checksum_pages_stale, 1U);
  file = fixture_.reopen("/a");
  EXPECT_EQ(read(*file, 0, 8), IoResult::success(8 * block));
}

// --- power cuts ---

// Overwrites in place, appends, holes and truncations, over and over, with checkpoints in between;
// whatever moment the power is cut at, no checksum is called wrong.
class ChecksumPowerCut : public ::testing::TestWithParam<CacheCase> {};

TEST_P(ChecksumPowerCut, NeverLeavesAChecksumThatDoesNotFit) {
  const std::uint64_t seed = announce_seed();
  const std::uint64_t images = number_from_environment("HB_CRASH_STATES", 400);
  std::mt19937_64 random(seed);
  auto memory = make_memory_device({.size_bytes = 5 << 20, .logical_block_bytes = 512});
  PowerCutDevice device(*memory, GetParam().volatile_cache, GetParam().fua);
  auto issuer = must(Issuer::create());
  must(Volume::format(*issuer, device, {.data_checksums = true}));
  auto volume = must(Volume::open(*issuer, device));
  const std::uint64_t first = device.now();
  // Checkpoints last long, so that much changes under them.
  const std::size_t slice_bytes = checkpoint_slice_bytes.exchange(32);
  const auto name = [&] { return "/f" + std::to_string(random() % 3); };
  for (int i = 0; i < 300; ++i) {
    const std::string path = name();
    auto file = must(volume->open_file(*issuer, path, {.create = true}));
    const std::uint64_t unit = random() % 4 == 0 ? 512 : block;
    const std::uint64_t offset = random() % 16 * unit;
    const std::uint64_t length = (1 + random() % 6) * unit;
    switch (random() % 16) {
      case 0:
        must(file->truncate(*issuer, random() % 60'000));
        break;
      case 1:
        must(file->punch(*issuer, offset, length));
        break;
      case 2:
        must(file->zero_range(*issuer, offset, length));
        break;
      case 3:
        must(file->preallocate(*issuer, offset, length,
                               {.mode = random() % 2 == 0 ? PreallocateMode::initialised
                                                          : PreallocateMode::reserved}));
        break;
      case 4:
        must(volume->sync(*issuer));
        break;
      case 5:
        file.reset();
        must(volume->unlink(path));
        break;
      case 6:
        file.reset();
        if (random() % 2 == 0) must(volume->close(*issuer));
        volume.reset();
        volume = must(Volume::open(*issuer, device));
        break;
      default: {
        const AlignedBuffer data = pattern(length, random());
        Aiocb write;
        write.prepare_write(*file, offset, data.span().first(length),
                            random() % 2 == 0 ? KiocbFlags::dsync : KiocbFlags::none);
        ASSERT_EQ(issuer->run(write), IoResult::success(static_cast<std::uint32_t>(length)));
        break;
      }
    }
  }
  checkpoint_slice_bytes = slice_bytes;
  const std::uint64_t last = device.now();
  std::uint64_t clean = 0;  // Images with pages that are known.
  auto target = make_memory_device({.size_bytes = 5 << 20, .logical_block_bytes = 512});
  auto raw = make_device_file(*target);
  AlignedBuffer image(5 << 20);
  for (std::uint64_t i = 0; i < images; ++i) {
    const std::uint64_t moment = first + random() % (last - first + 1);
    SCOPED_TRACE(::testing::Message() << "moment " << moment << " of " << last);
    device.image_at(moment, random, image.span());
    Aiocb fill;
    fill.prepare_write(*raw, 0, image.span());
    ASSERT_TRUE(issuer->run(fill).ok());
    ASSERT_THAT(must(check_volume(*issuer, *target, {.data = true})).findings,
                ::testing::IsEmpty());
    auto opened = must(Volume::open(*issuer, *target));
    EXPECT_EQ(opened->recovery().checksum_pages_damaged, 0U);
    clean +=
        opened->recovery().checksum_pages_stale == 0 && opened->info().extent_count != 0 ? 1 : 0;
    for (const DirEntry& entry : must(opened->list("/"))) {
      auto file = must(opened->open_file(*issuer, "/" + entry.name));
      AlignedBuffer bytes(256 << 10);
      Aiocb read;
      read.prepare_read(*file, 0, bytes.span());
      const IoResult result = issuer->run(read);
      ASSERT_TRUE(result.ok()) << entry.name << ": " << describe(result);
    }
  }
  std::cout << last - first << " moments; " << clean << " of " << images
            << " images with all checksums known\n";
  volume.reset();
  issuer->detach(device);
}

INSTANTIATE_TEST_SUITE_P(Devices, ChecksumPowerCut,
                         ::testing::Values(CacheCase{"write_through", false},
                                           CacheCase{"cache_fua", true, true},
                                           CacheCase{"cache_flush_only", true}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace handback::testing
