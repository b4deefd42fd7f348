#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

class VolumeNames : public ::testing::Test {
 protected:
  Volume& volume() { return *fixture_.volume; }
  std::vector<std::string> names(const std::string& path) {
    std::vector<std::string> list;
    for (const DirEntry& entry : must(volume().list(path)))
      list.push_back(entry.name);
    return list;
  }
  VolumeFixture fixture_;
};

using ::testing::ElementsAre;

TEST_F(VolumeNames, ListInOrderWithOrWithoutALeadingSlash) {
  must(volume().mkdir("/b"));
  must(volume().mkdir("a"));
  (void)fixture_.create("/b/x");
  EXPECT_THAT(names("/"), ElementsAre("a", "b"));
  EXPECT_THAT(names("b"), ElementsAre("x"));
  EXPECT_EQ(must(volume().stat("/b")).size_bytes, 1U);
}

TEST_F(VolumeNames, RefuseWhatCannotBeAName) {
  EXPECT_TRUE(is_error(volume().mkdir(std::string("/a\0b", 4)), Errc::invalid));
  EXPECT_TRUE(is_error(volume().mkdir("/" + std::string(256, 'n')), Errc::too_large));
  EXPECT_TRUE(volume().mkdir("/" + std::string(255, 'n')));
  EXPECT_TRUE(is_error(volume().mkdir("/."), Errc::invalid));
  EXPECT_TRUE(is_error(volume().mkdir("/../x"), Errc::invalid));
  EXPECT_TRUE(is_error(volume().mkdir("//x"), Errc::invalid));
  EXPECT_TRUE(is_error(volume().mkdir("/"), Errc::exists));
}

TEST_F(VolumeNames, SayWhatIsMissingOrOfAnotherKind) {
  (void)fixture_.create("/file");
  must(volume().mkdir("/dir"));
  EXPECT_TRUE(is_error(volume().mkdir("/no/such"), Errc::not_found));
  EXPECT_TRUE(is_error(volume().mkdir("/file/x"), Errc::not_a_directory));
  EXPECT_TRUE(is_error(volume().open_file(*fixture_.issuer, "/dir"), Errc::is_a_directory));
  EXPECT_TRUE(is_error(volume().open_file(*fixture_.issuer, "/none"), Errc::not_found));
  EXPECT_TRUE(
      is_error(volume().open_file(*fixture_.issuer, "/file", {.create = true, .exclusive = true}),
               Errc::exists));
  EXPECT_TRUE(is_error(volume().unlink("/dir"), Errc::is_a_directory));
  EXPECT_TRUE(is_error(volume().rmdir("/file"), Errc::not_a_directory));
  EXPECT_TRUE(is_error(volume().rmdir("/"), Errc::invalid));
  EXPECT_TRUE(is_error(volume().list("/file"), Errc::not_a_directory));
}

TEST_F(VolumeNames, KeepDirectoriesThatAreNotEmpty) {
  must(volume().mkdir("/d"));
  must(volume().mkdir("/d/e"));
  EXPECT_TRUE(is_error(volume().rmdir("/d"), Errc::not_empty));
  must(volume().rmdir("/d/e"));
  EXPECT_TRUE(volume().rmdir("/d"));
}

TEST_F(VolumeNames, RenameReplacesAFileAndFreesItsBlocks) {
  const AlignedBuffer data = pattern(64 << 10, 1);
  {
    auto a = fixture_.create("/a");
    auto b = fixture_.create("/b");
    ASSERT_TRUE(fixture_.write(*a, 0, data.span()).ok());
    ASSERT_TRUE(fixture_.write(*b, 0, data.span().first(4096)).ok());
  }
  const auto before = volume().info().free_bytes;
  must(volume().rename("/b", "/a"));
  EXPECT_EQ(must(volume().stat("/a")).size_bytes, 4096U);
  EXPECT_TRUE(is_error(volume().stat("/b"), Errc::not_found));
  EXPECT_EQ(volume().info().free_bytes, before + (64 << 10));
}

TEST_F(VolumeNames, RenameRefusesWhatWouldLoseOrTangleDirectories) {
  must(volume().mkdir("/d"));
  must(volume().mkdir("/d/e"));
  must(volume().mkdir("/full"));
  (void)fixture_.create("/full/f");
  (void)fixture_.create("/file");
  EXPECT_TRUE(is_error(volume().rename("/d", "/d/e/d"), Errc::invalid));
  EXPECT_TRUE(is_error(volume().rename("/d", "/d/d"), Errc::invalid));
  EXPECT_TRUE(is_error(volume().rename("/", "/x"), Errc::invalid));
  EXPECT_TRUE(is_error(volume().rename("/d", "/full"), Errc::not_empty));
  EXPECT_TRUE(is_error(volume().rename("/file", "/d"), Errc::is_a_directory));
  EXPECT_TRUE(is_error(volume().rename("/d", "/file"), Errc::not_a_directory));
  EXPECT_TRUE(is_error(volume().rename("/none", "/x"), Errc::not_found));
  EXPECT_TRUE(volume().rename("/d", "/d"));
  must(volume().rename("/d/e", "/e"));
  must(volume().rename("/d", "/e/d"));
  EXPECT_THAT(names("/e"), ElementsAre("d"));
}

TEST_F(VolumeNames, AreTheSameAfterRecoveryAndAfterRecoveringTwice) {
  must(volume().mkdir("/d"));
  (void)fixture_.create("/d/a");
  must(volume().rename("/d", "/e"));
  must(volume().rename("/e/a", "/b"));
  must(volume().sync(*fixture_.issuer));
  for (int round = 0; round < 2; ++round) {
    fixture_.kill();
    fixture_.open();
    EXPECT_FALSE(volume().recovery().clean);
    EXPECT_THAT(names("/"), ElementsAre("b", "e"));
    EXPECT_THAT(names("/e"), ElementsAre());
  }
}

TEST_F(VolumeNames, OfOpenFilesCanGoAndTheFileGoesWithItsLastHandle) {
  const AlignedBuffer data = pattern(64 << 10, 1);
  auto file = fixture_.create("/a");
  ASSERT_TRUE(fixture_.write(*file, 0, data.span()).ok());
  const auto before = volume().info().free_bytes;
  must(volume().unlink("/a"));
  EXPECT_EQ(volume().info().free_bytes, before);
  EXPECT_EQ(fixture_.contents(*file, 0, 64 << 10), bytes_of(data.span()));
  // It still grows, for as long as it is open.
  ASSERT_EQ(fixture_.write(*file, 64 << 10, data.span(), KiocbFlags::dsync),
            IoResult::success(64 << 10));
  // The name is free for another file.
  (void)fixture_.create("/a");
  file.reset();
  EXPECT_EQ(volume().info().free_bytes, before + (64 << 10));
  fixture_.close();
  EXPECT_THAT(must(check_volume(*fixture_.issuer, *fixture_.device)).findings,
              ::testing::IsEmpty());
}

TEST_F(VolumeNames, CannotChangeInAReadOnlyVolume) {
  (void)fixture_.create("/a");
  fixture_.close();
  fixture_.open({.read_only = true});
  EXPECT_TRUE(is_error(volume().mkdir("/d"), Errc::read_only));
  EXPECT_TRUE(is_error(volume().unlink("/a"), Errc::read_only));
  EXPECT_TRUE(is_error(volume().rename("/a", "/b"), Errc::read_only));
  EXPECT_TRUE(
      is_error(volume().open_file(*fixture_.issuer, "/b", {.create = true}), Errc::read_only));
  auto file = fixture_.reopen("/a");
  const AlignedBuffer data = pattern(4096, 1);
  EXPECT_EQ(fixture_.write(*file, 0, data.span()), IoResult::failure(Errc::read_only));
  EXPECT_TRUE(is_error(file->truncate(*fixture_.issuer, 0), Errc::read_only));
}

TEST_F(VolumeNames, FillTheMetadataAreaToAClearErrorAndRemovalStillWorks) {
  VolumeFixture small(MemoryDeviceOptions{.size_bytes = 4 << 20});
  std::uint64_t made = 0;
  const std::string tail(200, 'x');
  for (;; ++made) {
    const auto result = small.volume->mkdir("/" + std::to_string(made) + tail);
    if (result) continue;
    EXPECT_TRUE(is_error(result, Errc::no_space));
    break;
  }
  EXPECT_GT(made, 100U);
  must(small.volume->rmdir("/0" + tail));
  EXPECT_TRUE(small.volume->mkdir("/again"));
  small.close();
  EXPECT_THAT(must(check_volume(*small.issuer, *small.device)).findings, ::testing::IsEmpty());
}

TEST_F(VolumeNames, APreallocatedFileWrittenInPiecesNeverOverflowsTheMetadataArea) {
  VolumeFixture small(MemoryDeviceOptions{.size_bytes = 16 << 20});
  auto file = small.create("/a");
  must(file->preallocate(0, 12 << 20));
  // As many names as fit, then the worst that can be done to the extent: every second block.
  const std::string tail(200, 'x');
  for (std::uint64_t i = 0; small.volume->mkdir("/" + std::to_string(i) + tail); ++i) {
  }
  const AlignedBuffer data = pattern(4096, 1);
  for (std::uint64_t block = 0; block < (12 << 20) / 4096; block += 2) {
    ASSERT_EQ(small.write(*file, block * 4096, data.span()), IoResult::success(4096));
  }
  const VolumeInfo info = small.volume->info();
  EXPECT_LE(info.metadata_bytes, info.metadata_bytes_max);
  file.reset();
  small.close();
  EXPECT_THAT(must(check_volume(*small.issuer, *small.device)).findings, ::testing::IsEmpty());
}

TEST_F(VolumeNames, OfOneDeviceBelongToOneVolumeObjectAtATime) {
  EXPECT_TRUE(is_error(Volume::open(*fixture_.issuer, *fixture_.device), Errc::busy));
  EXPECT_TRUE(
      is_error(Volume::open(*fixture_.issuer, *fixture_.device, {.read_only = true}), Errc::busy));
  EXPECT_TRUE(is_error(check_volume(*fixture_.issuer, *fixture_.device), Errc::busy));
  EXPECT_TRUE(is_error(Volume::format(*fixture_.issuer, *fixture_.device, {.overwrite = true}),
                       Errc::busy));
  fixture_.close();
  fixture_.open({.read_only = true});
  EXPECT_TRUE(Volume::open(*fixture_.issuer, *fixture_.device, {.read_only = true}));
}

}  // namespace
}  // namespace handback::testing
