#include "block/fault_device.h"
#include "issuer/fake_device_test_support.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

class VolumeHoles : public ::testing::Test {
 protected:
  VolumeHoles() {
    file_ = fixture_.create("/f");
    EXPECT_TRUE(fixture_.write(*file_, 0, data_.span(), KiocbFlags::dsync).ok());
    model_ = bytes_of(data_.span());
  }

  void punch(std::uint64_t offset, std::uint64_t length) {
    must(file_->punch(*fixture_.issuer, offset, length));
    zero(offset, length);
  }
  void zero_range(std::uint64_t offset, std::uint64_t length) {
    must(file_->zero_range(*fixture_.issuer, offset, length));
    zero(offset, length);
  }
  void zero(std::uint64_t offset, std::uint64_t length) {
    for (std::uint64_t at = offset; at < std::min(offset + length, std::uint64_t{model_.size()});
         ++at)
      model_[at] = std::byte{0};
  }
  void expect_contents() {
    ASSERT_EQ(file_->size(), model_.size());
    AlignedBuffer all((model_.size() + block - 1) / block * block);
    ASSERT_TRUE(fixture_.read(*file_, 0, all.span()).ok());
    for (std::size_t i = 0; i < model_.size(); ++i)
      ASSERT_EQ(all.span()[i], model_[i]) << "byte " << i;
  }
  void expect_contents_after_a_crash() {
    fixture_.kill_files(file_);
    file_ = fixture_.reopen("/f");
    expect_contents();
    file_.reset();
    fixture_.kill();
    EXPECT_THAT(must(check_volume(*fixture_.issuer, *fixture_.device)).findings,
                ::testing::IsEmpty());
    fixture_.open();
    file_ = fixture_.reopen("/f");
  }
  [[nodiscard]] std::uint64_t allocated() const { return file_->info().allocated_bytes / block; }
  [[nodiscard]] std::uint64_t free_blocks() const {
    return fixture_.volume->info().free_bytes / block;
  }

  VolumeFixture fixture_{MemoryDeviceOptions{
      .size_bytes = 8 << 20, .logical_block_bytes = 512, .memory_alignment_bytes = 512}};
  std::unique_ptr<VolumeFile> file_;
  AlignedBuffer data_ = pattern(16 * block, 1);
  std::vector<std::byte> model_;
};

TEST_F(VolumeHoles, OfWholeBlocksFreeThemAndReadAsZeros) {
  const std::uint64_t free_before = free_blocks();
  punch(4 * block, 3 * block);
  EXPECT_EQ(allocated(), 13U);
  EXPECT_EQ(free_blocks(), free_before + 3);
  ASSERT_EQ(file_->extents().size(), 2U);
  EXPECT_EQ(file_->extents()[0].length, 4 * block);
  EXPECT_EQ(file_->extents()[1].offset, 7 * block);
  expect_contents();
  expect_contents_after_a_crash();
  EXPECT_EQ(allocated(), 13U);
  EXPECT_EQ(free_blocks(), free_before + 3);
}

TEST_F(VolumeHoles, ZeroTheirEdgesAndFreeOnlyWholeBlocks) {
  punch(block + 100, 2 * block);  // Block 2 is whole.
  EXPECT_EQ(allocated(), 15U);
  EXPECT_EQ(file_->extents().size(), 2U);
  expect_contents();
  punch(6 * block + 512, 1024);  // Inside one block.
  punch(8 * block + 4000, 200);  // In two blocks, none of them whole.
  EXPECT_EQ(allocated(), 15U);
  expect_contents();
  expect_contents_after_a_crash();
}

TEST_F(VolumeHoles, ReachingTheEndOfTheFileFreeItsLastBlockAndKeepTheSize) {
  must(file_->truncate(*fixture_.issuer, 10 * block + 700));
  model_.resize(10 * block + 700);
  punch(8 * block, 2 * block + 700);
  EXPECT_EQ(allocated(), 8U);
  expect_contents();
  // The file grows again, and what was there does not come back.
  must(file_->truncate(*fixture_.issuer, 12 * block));
  model_.resize(12 * block);
  expect_contents();
  expect_contents_after_a_crash();
}

TEST_F(VolumeHoles, MayLieBehindTheEndAndTakeReservedSpaceBack) {
  must(file_->preallocate(16 * block, 8 * block));
  EXPECT_EQ(allocated(), 24U);
  punch(18 * block, 100 * block);
  EXPECT_EQ(allocated(), 18U);
  expect_contents();
}

TEST_F(VolumeHoles, OfZeroRangeKeepTheBlocksUnwritten) {
  const std::uint64_t free_before = free_blocks();
  const std::uint64_t addr = file_->extents().at(0).addr;
  zero_range(4 * block + 8, 4 * block);
  EXPECT_EQ(allocated(), 16U);
  EXPECT_EQ(free_blocks(), free_before);
  ASSERT_EQ(file_->extents().size(), 3U);
  EXPECT_EQ(file_->extents()[1].offset, 5 * block);
  EXPECT_EQ(file_->extents()[1].addr, addr + 5 * block);
  EXPECT_EQ(file_->extents()[1].length, 3 * block);
  EXPECT_TRUE(file_->extents()[1].unwritten);
  expect_contents();
  expect_contents_after_a_crash();
  // Written again they are as before.
  ASSERT_TRUE(fixture_.write(*file_, 5 * block, data_.span().first(3 * block)).ok());
  std::copy_n(data_.data(), 3 * block, model_.begin() + 5 * block);
  EXPECT_EQ(file_->extents().size(), 1U);
  expect_contents_after_a_crash();
}

TEST_F(VolumeHoles, OfZeroRangeOverSeveralExtentsTakeAllOfThem) {
  punch(6 * block, block);
  zero_range(2 * block, 8 * block);
  expect_contents();
  EXPECT_EQ(allocated(), 15U);
  expect_contents_after_a_crash();
}

TEST_F(VolumeHoles, AreRefusedWhereTheyCannotBe) {
  EXPECT_TRUE(is_error(file_->punch(*fixture_.issuer, file_size_bytes_max, 1), Errc::too_large));
  EXPECT_TRUE(is_error(file_->punch(*fixture_.issuer, 1, file_size_bytes_max), Errc::too_large));
  must(file_->punch(*fixture_.issuer, block, 0));
  EXPECT_EQ(allocated(), 16U);
  // The largest range there is.
  punch(0, file_size_bytes_max);
  EXPECT_EQ(allocated(), 0U);
  expect_contents_after_a_crash();
}

TEST_F(VolumeHoles, InAFileWithoutANameFreeTheBlocksAtTheNextCommit) {
  must(fixture_.volume->unlink("/f"));
  const std::uint64_t free_before = free_blocks();
  punch(0, 8 * block);
  EXPECT_EQ(free_blocks(), free_before + 8);
  zero_range(8 * block, 2 * block);
  expect_contents();
  file_.reset();
  fixture_.kill_files(file_);
  EXPECT_EQ(fixture_.volume->info().free_bytes, fixture_.volume->info().data_bytes);
}

TEST_F(VolumeHoles, FreedBlocksAreNotReusedBeforeThatIsDurable) {
  punch(0, 4 * block);
  // All that is free otherwise goes to another file, and one block more is not to be had
  // without a commit; a crash then finds the file as it was.
  auto other = fixture_.create("/other");
  const std::uint64_t first = fixture_.device->geometry().size_bytes;
  ASSERT_TRUE(fixture_.write(*other, 0, data_.span().first(4 * block)).ok());
  std::uint64_t lowest = first;
  for (const ExtentInfo& extent : other->extents())
    lowest = std::min(lowest, extent.addr);
  EXPECT_GE(lowest, file_->extents().at(0).addr);
  other.reset();
  file_.reset();
  fixture_.kill();
  fixture_.open();
  file_ = fixture_.reopen("/f");
  model_ = bytes_of(data_.span());
  expect_contents();
}

TEST_F(VolumeHoles, AnswerLikeAModelForRandomOnes) {
  const std::uint64_t seed = number_from_environment("HB_SEED", 7);
  SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed);
  std::mt19937_64 random(seed);
  const std::uint64_t extent = 24 * block;
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t offset = random() % extent;
    const std::uint64_t length = random() % (6 * block);
    switch (random() % 7) {
      case 0:
        punch(offset, length);
        break;
      case 1:
        zero_range(offset, length);
        break;
      case 2:
        punch(offset / block * block, length / block * block);
        break;
      case 3: {
        must(file_->truncate(*fixture_.issuer, offset));
        model_.resize(offset);
        break;
      }
      case 4:
        must(file_->preallocate(offset, length));
        break;
      default: {
        const std::uint64_t at = offset / 512 * 512;
        const std::uint64_t bytes = length / 512 * 512 + 512;
        const AlignedBuffer from = pattern(bytes, random());
        const auto flags = random() % 2 == 0 ? KiocbFlags::dsync : KiocbFlags::none;
        ASSERT_TRUE(fixture_.write(*file_, at, from.span().first(bytes), flags).ok());
        if (model_.size() < at + bytes) model_.resize(at + bytes);
        std::copy_n(from.data(), bytes, model_.begin() + static_cast<std::ptrdiff_t>(at));
      }
    }
    ASSERT_NO_FATAL_FAILURE(expect_contents()) << "step " << i;
    if (i % 50 != 49) continue;
    ASSERT_NO_FATAL_FAILURE(expect_contents_after_a_crash()) << "step " << i;
  }
}

// A device that ends its bios when the test says.
class VolumeHolesInFlight : public ::testing::Test {
 protected:
  VolumeHolesInFlight() {
    Geometry geometry = FakeDevice::default_geometry();
    geometry.size_bytes = 4 << 20;
    geometry.logical_block_bytes = block;
    device_ = std::make_unique<FakeDevice>(geometry);
    issuer_ = must(Issuer::create());
    must(Volume::format(*issuer_, *device_));
    volume_ = must(Volume::open(*issuer_, *device_));
    file_ = must(volume_->open_file(*issuer_, "/f", {.create = true}));
    Aiocb aiocb;
    aiocb.prepare_write(*file_, 0, data_.span(), KiocbFlags::dsync);
    EXPECT_TRUE(issuer_->run(aiocb).ok());
  }
  ~VolumeHolesInFlight() override {
    device_->hold(false);
    file_.reset();
    volume_.reset();
    issuer_->detach(*device_);
  }

  std::unique_ptr<FakeDevice> device_;
  std::unique_ptr<Issuer> issuer_;
  std::unique_ptr<Volume> volume_;
  std::unique_ptr<VolumeFile> file_;
  AlignedBuffer data_ = pattern(8 * block, 1);
};

TEST_F(VolumeHolesInFlight, WaitForNoRequestThatLiesElsewhere) {
  must(volume_->sync(*issuer_));
  device_->hold(true);
  Aiocb elsewhere;
  elsewhere.prepare_write(*file_, 0, data_.span().first(2 * block));
  issuer_->submit(elsewhere);
  must(file_->punch(*issuer_, 4 * block, 2 * block));
  EXPECT_EQ(issuer_->in_flight(), 1U);
  while (issuer_->in_flight() != 0) {
    if (device_->held_count() != 0) device_->end_in_poll();
    issuer_->poll();
  }
  EXPECT_EQ(elsewhere.result, IoResult::success(2 * block));
  EXPECT_EQ(file_->info().allocated_bytes, 6 * block);
}

TEST_F(VolumeHolesInFlight, OfAnUnconfirmedWriteFreeItsBlocksWithoutAWait) {
  // The last durable write is not confirmed yet: whole blocks need no confirmation, and no I/O.
  const std::size_t seen = device_->seen.size();
  must(file_->punch(*issuer_, 0, 2 * block));
  EXPECT_EQ(device_->seen.size(), seen);
  // The edge does, before it is zeroed: a record, then the block's read and write.
  device_->seen.clear();
  must(file_->punch(*issuer_, 4 * block, 100));
  std::vector<BioOp> ops;
  for (const SeenBio& bio : device_->take_seen())
    ops.push_back(bio.op);
  EXPECT_EQ(ops, (std::vector<BioOp>{BioOp::write, BioOp::read, BioOp::write}));
}

TEST(VolumeHolesFault, ThatCannotZeroAnEdgeFailWithTheDevicesErrorAndFreeNothing) {
  auto memory = make_memory_device({.size_bytes = 4 << 20});
  FaultDevice device(*memory);
  auto issuer = must(Issuer::create());
  must(Volume::format(*issuer, device));
  auto volume = must(Volume::open(*issuer, device));
  auto file = must(volume->open_file(*issuer, "/f", {.create = true}));
  const AlignedBuffer data = pattern(8 * block, 1);
  Aiocb aiocb;
  aiocb.prepare_write(*file, 0, data.span());
  ASSERT_TRUE(issuer->run(aiocb).ok());
  device.fail(BioOp::write, 1, IoResult::host_failure(5));
  EXPECT_TRUE(is_error(file->punch(*issuer, 100, 4 * block), Errc::io));
  EXPECT_EQ(file->info().allocated_bytes, 8 * block);
  file.reset();
  volume.reset();
  issuer->detach(device);
}

}  // namespace
}  // namespace handback::testing
