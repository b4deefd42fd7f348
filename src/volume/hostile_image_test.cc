// Goal: opening says what is wrong with a damaged volume, and uses the copy that is good.
// Method: a small volume with everything in it; damage of its metadata blocks, with and without a
// checksum made to fit; then open, check and use. Damage of every field, and at random, is in
// tests/hostile.
#include "volume/format.h"
#include "volume/meta_block.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

constexpr std::uint64_t volume_bytes = 4 << 20;

class HostileImage : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    VolumeFixture fixture(MemoryDeviceOptions{.size_bytes = volume_bytes});
    must(fixture.volume->mkdir("/d"));
    {
      auto file = fixture.create("/d/a");
      const AlignedBuffer data = pattern(32 << 10, 1);
      EXPECT_TRUE(fixture.write(*file, 0, data.span()).ok());
      must(file->preallocate(1 << 20, 64 << 10));
    }
    fixture.close();
    // A checkpoint, and after it a log with records of every kind.
    fixture.open();
    {
      auto file = fixture.create("/b");
      const AlignedBuffer data = pattern(8192, 2);
      EXPECT_TRUE(fixture.write(*file, 4096, data.span(), KiocbFlags::dsync).ok());
      must(file->truncate(*fixture.issuer, 5000));
      must(file->set_mtime(5));
    }
    must(fixture.volume->sync(*fixture.issuer));
    must(fixture.volume->rename("/b", "/d/c"));
    must(fixture.volume->link("/d/c", "/e"));
    must(fixture.volume->unlink("/d/a"));
    must(fixture.volume->sync(*fixture.issuer));
    fixture.kill();
    image_ = new AlignedBuffer(volume_bytes);
    auto raw = make_device_file(*fixture.device);
    Aiocb aiocb;
    aiocb.prepare_read(*raw, 0, image_->span());
    ASSERT_TRUE(fixture.issuer->run(aiocb).ok());
  }
  static void TearDownTestSuite() {
    delete image_;
    image_ = nullptr;
  }

  // A device holding the image as damage() leaves it.
  template <typename Damage>
  void load(Damage damage) {
    device_ = make_memory_device({.size_bytes = volume_bytes});
    issuer_ = must(Issuer::create());
    if (bytes_.size() == 0) bytes_ = AlignedBuffer(volume_bytes);
    std::memcpy(bytes_.data(), image_->data(), volume_bytes);
    damage(bytes_.span());
    auto raw = make_device_file(*device_);
    Aiocb aiocb;
    aiocb.prepare_write(*raw, 0, bytes_.span());
    ASSERT_TRUE(issuer_->run(aiocb).ok());
  }

  // Refusing to open changes no byte, and says the same thing to check.
  Errc open_code() {
    auto opened = Volume::open(*issuer_, *device_);
    if (!opened) {
      expect_unchanged();
      const auto report = check_volume(*issuer_, *device_);
      EXPECT_TRUE(!report || !report->findings.empty()) << "check sees nothing where open refuses";
      return opened.error().code();
    }
    // It opened: then all of it can be used.
    for (const DirEntry& entry : must((*opened)->list("/"))) {
      if (entry.info.type != FileType::regular) continue;
      auto file = must((*opened)->open_file(*issuer_, entry.name));
      AlignedBuffer buffer(64 << 10);
      Aiocb read;
      read.prepare_read(*file, 0, buffer.span());
      EXPECT_TRUE(issuer_->run(read).ok());
      Aiocb write;
      write.prepare_write(*file, 0, buffer.span(), KiocbFlags::dsync);
      (void)issuer_->run(write);
    }
    must((*opened)->close(*issuer_));
    opened->reset();
    EXPECT_TRUE(Volume::open(*issuer_, *device_))
        << "a volume that opened and was closed opens again";
    return Errc::ok;
  }

  void expect_unchanged() {
    AlignedBuffer now(volume_bytes);
    auto raw = make_device_file(*device_);
    Aiocb aiocb;
    aiocb.prepare_read(*raw, 0, now.span());
    ASSERT_TRUE(issuer_->run(aiocb).ok());
    EXPECT_EQ(std::memcmp(now.data(), bytes_.data(), volume_bytes), 0)
        << "a refused volume was written to";
  }

  static std::span<std::byte> block_of(std::span<std::byte> image, std::uint64_t block) {
    return image.subspan(block * fs_block, fs_block);
  }

  // Seals the metadata at `block` anew after its payload was changed, as an attacker would.
  static void reseal(std::span<std::byte> image, std::uint64_t block) {
    std::span<std::byte> rest = image.subspan(block * fs_block);
    MetaHeader header;
    for (const MetaType type :
         {MetaType::superblock, MetaType::root, MetaType::checkpoint, MetaType::log_record}) {
      const MetaFault fault = meta_peek(rest, type, block, &header);
      if (fault == MetaFault::magic) return;
      if (fault != MetaFault::none) continue;
      const std::uint64_t blocks = meta_blocks(header.payload_bytes);
      if (blocks * fs_block <= rest.size()) meta_seal(rest.first(blocks * fs_block), header);
      return;
    }
  }

  static AlignedBuffer* image_;
  AlignedBuffer bytes_;
  std::unique_ptr<BlockDevice> device_;
  std::unique_ptr<Issuer> issuer_;
};
AlignedBuffer* HostileImage::image_ = nullptr;

const Layout layout = layout_for(volume_bytes / fs_block);

TEST_F(HostileImage, TheUndamagedImageOpens) {
  load([](auto) {});
  EXPECT_EQ(open_code(), Errc::ok);
}

TEST_F(HostileImage, EmptyBytesAreNoVolume) {
  load([](std::span<std::byte> image) { std::fill(image.begin(), image.end(), std::byte{0}); });
  EXPECT_EQ(open_code(), Errc::invalid);
}

TEST_F(HostileImage, ADamagedSuperblockIsReplacedByItsBackup) {
  load([](std::span<std::byte> image) { image[100] ^= std::byte{1}; });
  auto opened = must(Volume::open(*issuer_, *device_));
  EXPECT_TRUE(opened->recovery().backup_superblock_used);
  opened.reset();
  const CheckReport report = must(check_volume(*issuer_, *device_));
  ASSERT_EQ(report.findings.size(), 1U);
  EXPECT_EQ(report.findings[0].structure, "superblock");
}

TEST_F(HostileImage, TwoDamagedSuperblocksAreRefused) {
  load([](std::span<std::byte> image) {
    image[100] ^= std::byte{1};
    block_of(image, layout.backup_superblock)[100] ^= std::byte{1};
  });
  EXPECT_EQ(open_code(), Errc::damaged);
}

TEST_F(HostileImage, AnotherMajorVersionIsRefusedByName) {
  load([](std::span<std::byte> image) {
    for (const std::uint64_t block : {superblock_block, layout.backup_superblock}) {
      block_of(image, block)[meta_header_bytes] = std::byte{format_version_major + 1};
      reseal(image, block);
    }
  });
  EXPECT_EQ(open_code(), Errc::version);
}

TEST_F(HostileImage, ANewerMinorVersionOpens) {
  load([](std::span<std::byte> image) {
    for (const std::uint64_t block : {superblock_block, layout.backup_superblock}) {
      block_of(image, block)[meta_header_bytes + 2] = std::byte{99};
      reseal(image, block);
    }
  });
  EXPECT_EQ(open_code(), Errc::ok);
}

TEST_F(HostileImage, OneDamagedRootIsReplacedByTheOther) {
  for (const std::uint64_t root : root_blocks) {
    load([&](std::span<std::byte> image) { block_of(image, root)[80] ^= std::byte{1}; });
    EXPECT_EQ(open_code(), Errc::ok) << "root in block " << root;
  }
}

TEST_F(HostileImage, TwoDamagedRootsAreRefused) {
  load([](std::span<std::byte> image) {
    for (const std::uint64_t root : root_blocks)
      block_of(image, root)[80] ^= std::byte{1};
  });
  EXPECT_EQ(open_code(), Errc::damaged);
}

TEST_F(HostileImage, ADamagedRecordBeforeAGoodOneIsRefusedAndNotSilentlyDropped) {
  // The first record after the last checkpoint; more follow it.
  std::uint64_t first = 0;
  load([](auto) {});
  {
    auto opened = must(Volume::open(*issuer_, *device_));
    ASSERT_GE(opened->recovery().records_replayed, 2U);
  }
  for (std::uint64_t i = 0; i < layout.log_blocks && first == 0; ++i) {
    MetaHeader header;
    const std::uint64_t at = layout.log_start + i;
    if (meta_peek(block_of(image_->span(), at), MetaType::log_record, at, &header) ==
            MetaFault::none &&
        header.sequence == 2) {
      first = at;
    }
  }
  ASSERT_NE(first, 0U);
  load([&](std::span<std::byte> image) { block_of(image, first)[70] ^= std::byte{1}; });
  EXPECT_EQ(open_code(), Errc::damaged);
}

TEST_F(HostileImage, ACheckpointWithoutARootOrWithoutNumbersLeftIsRefused) {
  struct Header {
    std::uint64_t next_ino;
    std::uint64_t inode_count;
  };
  for (const Header bad :
       {Header{1, 0}, Header{~std::uint64_t{0}, 2}, Header{std::uint64_t{1} << 63, 2}}) {
    for (const std::uint64_t slot : layout.slot_start) {
      load([&](std::span<std::byte> image) {
        std::memcpy(block_of(image, slot).data() + meta_header_bytes, &bad, sizeof bad);
        reseal(image, slot);
        // Nothing in the log, which would be refused for other reasons.
        std::fill_n(block_of(image, layout.log_start).data(), layout.log_blocks * fs_block,
                    std::byte{0});
      });
      const Errc code = open_code();
      MetaHeader header;
      const bool in_use = meta_peek(block_of(image_->span(), slot), MetaType::checkpoint, slot,
                                    &header) == MetaFault::none &&
                          header.generation == 2;
      EXPECT_EQ(code, in_use ? Errc::damaged : Errc::ok) << bad.next_ino << " slot " << slot;
    }
  }
}

TEST_F(HostileImage, AnImageCutShortIsRefused) {
  load([](auto) {});
  for (const std::uint64_t blocks :
       {std::uint64_t{1}, std::uint64_t{2}, layout.data_start, layout.total_blocks - 1}) {
    auto shorter = make_memory_device({.size_bytes = blocks * fs_block});
    auto raw = make_device_file(*shorter);
    Aiocb aiocb;
    aiocb.prepare_write(*raw, 0, bytes_.span().first(blocks * fs_block));
    ASSERT_TRUE(issuer_->run(aiocb).ok());
    EXPECT_TRUE(is_error(Volume::open(*issuer_, *shorter), Errc::damaged)) << blocks;
    issuer_->detach(*shorter);
  }
}

TEST_F(HostileImage, EveryFlippedBitOfCheckpointAndRootIsNoticed) {
  // One bit of every eighth byte of every metadata block in use.
  std::vector<std::uint64_t> blocks{root_blocks[0], layout.slot_start[0], layout.slot_start[1]};
  for (const std::uint64_t block : blocks) {
    for (std::size_t at = 0; at < fs_block; at += 97) {
      std::vector<std::byte> damaged = bytes_of(block_of(image_->span(), block));
      MetaHeader header;
      const MetaType type = block == root_blocks[0] ? MetaType::root : MetaType::checkpoint;
      if (meta_open(damaged, type, block, nullptr, &header) != MetaFault::none)
        break;  // Not in use.
      damaged[at] ^= std::byte{0x10};
      EXPECT_NE(meta_open(damaged, type, block, nullptr, &header), MetaFault::none)
          << block << " " << at;
    }
  }
}

}  // namespace
}  // namespace handback::testing
