// Goal: on a volume that is full to the last block, or to the last byte of its room for metadata,
// what frees something works, and what was freed can be used again. And limits at their edges.
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

class FullVolume : public ::testing::Test {
 protected:
  // Appends until nothing is free any more; blocks appended.
  std::uint64_t fill_data(VolumeFile& file, KiocbFlags flags = KiocbFlags::none) {
    std::uint64_t blocks = 0;
    for (;;) {
      const IoResult result =
          fixture_.write(file, 0, data_.span().first(block), KiocbFlags::append | flags);
      if (!result.ok()) {
        EXPECT_EQ(result, IoResult::failure(Errc::no_space));
        return blocks;
      }
      ++blocks;
    }
  }
  // Makes files until there is no room for the metadata of another one.
  std::uint64_t fill_names(const std::string& prefix) {
    for (std::uint64_t i = 0;; ++i) {
      auto file = fixture_.volume->open_file(*fixture_.issuer, prefix + std::to_string(i),
                                             {.create = true});
      if (file) continue;
      EXPECT_TRUE(is_error(file, Errc::no_space));
      return i;
    }
  }
  void expect_consistent() {
    EXPECT_THAT(must(check_volume(*fixture_.issuer, *fixture_.device)).findings,
                ::testing::IsEmpty());
  }
  [[nodiscard]] VolumeInfo info() const { return fixture_.volume->info(); }
  Volume& volume() { return *fixture_.volume; }

  VolumeFixture fixture_{MemoryDeviceOptions{.size_bytes = 4 << 20}};
  AlignedBuffer data_ = pattern(1 << 20, 1);
};

TEST_F(FullVolume, OfDataGivesItsLastBlockAndThenSaysSo) {
  auto file = fixture_.create("/f");
  EXPECT_EQ(fill_data(*file), info().data_bytes / block);
  EXPECT_EQ(info().free_bytes, 0U);
  EXPECT_EQ(file->size(), info().data_bytes);
  // What it has can be overwritten, names can come, and both are durable.
  EXPECT_TRUE(fixture_.write(*file, 0, data_.span().first(block), KiocbFlags::dsync).ok());
  must(volume().mkdir("/d"));
  must(volume().rename("/f", "/d/f"));
  fixture_.kill_files(file);
  EXPECT_EQ(must(volume().stat("/d/f")).size_bytes, info().data_bytes);
  fixture_.close();
  expect_consistent();
}

TEST_F(FullVolume, OfDataCanBePunchedTruncatedAndEmptied) {
  auto file = fixture_.create("/f");
  const std::uint64_t all = fill_data(*file, KiocbFlags::dsync);
  for (std::uint64_t round = 0; round < 3; ++round) {
    must(file->punch(*fixture_.issuer, 0, 8 * block));
    EXPECT_EQ(info().free_bytes, 8 * block);
    auto other = fixture_.create("/other");
    EXPECT_EQ(fill_data(*other, KiocbFlags::dsync), 8U) << "what was punched is used again";
    must(file->truncate(*fixture_.issuer, (all - 4) * block));
    EXPECT_EQ(fill_data(*other), 4U) << "what was truncated, too";
    other.reset();
    must(volume().unlink("/other"));
    // Back to the file, holes and end.
    EXPECT_TRUE(fixture_.write(*file, 0, data_.span().first(8 * block)).ok());
    EXPECT_EQ(fill_data(*file), 4U);
    EXPECT_EQ(info().free_bytes, 0U);
  }
  file.reset();
  must(volume().unlink("/f"));
  file = fixture_.create("/again");
  EXPECT_EQ(fill_data(*file, KiocbFlags::dsync), all);
  fixture_.kill_files(file);
  EXPECT_EQ(info().free_bytes, 0U);
  must(volume().unlink("/again"));
  must(volume().sync(*fixture_.issuer));
  EXPECT_EQ(info().free_bytes, info().data_bytes);
  fixture_.close();
  expect_consistent();
}

TEST_F(FullVolume, KeepsReservedSpaceForItsFile) {
  auto reserved = fixture_.create("/reserved");
  must(reserved->preallocate(0, 16 * block));
  auto file = fixture_.create("/f");
  fill_data(*file);
  for (std::uint64_t i = 0; i < 16; ++i) {
    EXPECT_TRUE(
        fixture_.write(*reserved, i * block, data_.span().first(block), KiocbFlags::dsync).ok());
  }
  EXPECT_EQ(fixture_.write(*reserved, 16 * block, data_.span().first(block)),
            IoResult::failure(Errc::no_space));
}

TEST_F(FullVolume, OfNamesCanBeEmptiedAndFilledAgain) {
  const std::uint64_t count = fill_names("/a-rather-long-name-to-fill-the-area-with-");
  EXPECT_GT(count, 500U);
  EXPECT_TRUE(is_error(volume().mkdir("/a-directory-whose-name-is-too-long-for-what-is-left"),
                       Errc::no_space));
  // It fits a checkpoint, and opens.
  fixture_.close();
  expect_consistent();
  fixture_.open();
  EXPECT_EQ(info().file_count, count);
  for (std::uint64_t i = 0; i < count; ++i)
    must(volume().unlink("/a-rather-long-name-to-fill-the-area-with-" + std::to_string(i)));
  EXPECT_EQ(fill_names("/a-rather-long-name-to-fill-the-area-with-"), count);
  fixture_.close();
  expect_consistent();
}

TEST_F(FullVolume, OfNamesStillPunchesHoles) {
  auto file = fixture_.create("/f");
  ASSERT_TRUE(fixture_.write(*file, 0, data_.span()).ok());
  fill_names("/a-rather-long-name-to-fill-the-area-with-");
  // What is left takes a few extents.
  std::uint64_t extents = 1;
  for (;; ++extents) {
    ASSERT_LT(extents, 10U);
    const IoResult written =
        fixture_.write(*file, (510 + 2 * extents) * block, data_.span().first(block));
    if (written.ok()) continue;
    EXPECT_EQ(written, IoResult::failure(Errc::no_space, IoDetail::metadata_area_full));
    break;
  }
  ASSERT_EQ(file->info().extent_count, extents);
  // Each hole leaves one extent more, for which room is kept back.
  for (std::uint64_t hole = 0; hole < 127; ++hole)
    must(file->punch(*fixture_.issuer, (2 * hole + 1) * block, block));
  EXPECT_EQ(file->info().extent_count, extents + 127);
  // Holes that take whole extents away need none.
  must(file->punch(*fixture_.issuer, 0, 256 * block));
  EXPECT_EQ(file->info().extent_count, extents - 1);
  file.reset();
  fixture_.close();
  expect_consistent();
}

TEST_F(FullVolume, OfHolesRefusesOneMoreBeforeItsCheckpointOverflows) {
  // Files of their own so that no area but that for metadata is full.
  std::vector<std::unique_ptr<VolumeFile>> files;
  auto file = fixture_.create("/f");
  ASSERT_TRUE(fixture_.write(*file, 0, data_.span()).ok());
  ASSERT_TRUE(fixture_.write(*file, 1 << 20, data_.span()).ok());
  fill_names("/n");
  std::uint64_t holes = 0;
  for (; 2 * holes + 1 < 511; ++holes) {
    const auto punched = file->punch(*fixture_.issuer, (2 * holes + 1) * block, block);
    if (punched) continue;
    EXPECT_TRUE(is_error(punched, Errc::no_space));
    break;
  }
  EXPECT_GT(holes, 150U);
  EXPECT_LT(holes, 255U);
  // Deleting works, also by a checkpoint of what is there now.
  must(volume().unlink("/n0"));
  file.reset();
  fixture_.close();
  expect_consistent();
}

TEST_F(FullVolume, OfBothStillDeletes) {
  fill_names("/a-rather-long-name-to-fill-the-area-with-");
  must(volume().unlink("/a-rather-long-name-to-fill-the-area-with-0"));
  auto file = fixture_.create("/f");
  fill_data(*file, KiocbFlags::dsync);
  fill_names("/b");
  file.reset();
  fixture_.kill();
  fixture_.open();
  must(volume().unlink("/f"));
  must(volume().sync(*fixture_.issuer));
  EXPECT_EQ(info().free_bytes, info().data_bytes);
  fixture_.close();
  expect_consistent();
}

// --- limits ---

TEST_F(FullVolume, NamesHave255BytesAtMost) {
  const std::string longest(255, 'n');
  must(volume().mkdir("/" + longest));
  must(volume().open_file(*fixture_.issuer, "/" + longest + "/" + longest, {.create = true}));
  EXPECT_TRUE(is_error(volume().mkdir("/" + std::string(256, 'n')), Errc::too_large));
  EXPECT_TRUE(
      is_error(volume().rename("/" + longest, "/" + std::string(256, 'n')), Errc::too_large));
  must(volume().rename("/" + longest + "/" + longest, "/" + std::string(255, 'm')));
  fixture_.kill();
  fixture_.open();
  fixture_.close();
  expect_consistent();
}

TEST(VolumeLimits, AVolumeHas4MiBAtLeast) {
  auto issuer = must(Issuer::create());
  auto small = make_memory_device({.size_bytes = volume_size_bytes_min - block});
  EXPECT_TRUE(is_error(Volume::format(*issuer, *small), Errc::invalid));
  auto least = make_memory_device({.size_bytes = volume_size_bytes_min});
  must(Volume::format(*issuer, *least));
  must(Volume::open(*issuer, *least));
}

// --- reading only ---

TEST_F(FullVolume, OpenedForReadingOnlyReadsRefusesAllChangesAndWritesNothing) {
  auto file = fixture_.create("/f");
  ASSERT_TRUE(fixture_.write(*file, 0, data_.span().first(16 * block)).ok());
  must(volume().mkdir("/d"));
  must(volume().sync(*fixture_.issuer));
  // A record whose write is not confirmed: a writer would write at opening.
  ASSERT_TRUE(fixture_.write(*file, 16 * block, data_.span().first(block), KiocbFlags::dsync).ok());
  file.reset();
  fixture_.kill();
  auto raw = make_device_file(*fixture_.device);
  const auto image = [&] {
    AlignedBuffer all(fixture_.device->geometry().size_bytes);
    Aiocb read;
    read.prepare_read(*raw, 0, all.span());
    EXPECT_TRUE(fixture_.issuer->run(read).ok());
    return bytes_of(all.span());
  };
  const std::vector<std::byte> before = image();
  fixture_.open({.read_only = true});
  file = fixture_.reopen("/f");
  EXPECT_EQ(file->size(), 17 * block);
  EXPECT_EQ(fixture_.contents(*file, 0, 16 * block), bytes_of(data_.span().first(16 * block)));
  EXPECT_EQ(must(volume().list("/")).size(), 2U);
  Issuer& issuer = *fixture_.issuer;
  EXPECT_EQ(fixture_.write(*file, 0, data_.span().first(block)),
            IoResult::failure(Errc::read_only));
  EXPECT_TRUE(is_error(file->truncate(issuer, 0), Errc::read_only));
  EXPECT_TRUE(is_error(file->preallocate(0, block), Errc::read_only));
  EXPECT_TRUE(is_error(file->preallocate(issuer, 0, block, {.mode = PreallocateMode::initialised}),
                       Errc::read_only));
  EXPECT_TRUE(is_error(file->punch(issuer, 0, block), Errc::read_only));
  EXPECT_TRUE(is_error(file->zero_range(issuer, 0, block), Errc::read_only));
  EXPECT_TRUE(is_error(file->set_mtime(1), Errc::read_only));
  EXPECT_TRUE(is_error(volume().open_file(issuer, "/new", {.create = true}), Errc::read_only));
  EXPECT_TRUE(is_error(volume().open_file(issuer, "/f", {.truncate = true}), Errc::read_only));
  EXPECT_TRUE(is_error(volume().mkdir("/new"), Errc::read_only));
  EXPECT_TRUE(is_error(volume().link("/f", "/new"), Errc::read_only));
  EXPECT_TRUE(is_error(volume().rename("/f", "/new"), Errc::read_only));
  EXPECT_TRUE(is_error(volume().unlink("/f"), Errc::read_only));
  EXPECT_TRUE(is_error(volume().rmdir("/d"), Errc::read_only));
  EXPECT_TRUE(is_error(volume().freeze(issuer), Errc::read_only));
  must(file->fsync(issuer));
  must(volume().sync(issuer));
  must(volume().sync_directory(issuer, "/d"));
  file.reset();
  must(volume().close(issuer));
  fixture_.volume.reset();
  EXPECT_TRUE(image() == before) << "reading only has written";
}

}  // namespace
}  // namespace handback::testing
