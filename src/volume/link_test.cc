// Goal: a file with several names is one file, whichever is used, removed, moved or replayed.
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

using ::testing::IsEmpty;

class VolumeLinks : public ::testing::Test {
 protected:
  Volume& volume() { return *fixture_.volume; }
  std::uint64_t make_file(const std::string& path) {
    auto file = fixture_.create(path);
    const AlignedBuffer data = pattern(8192, 1);
    EXPECT_TRUE(fixture_.write(*file, 0, data.span()).ok());
    return file->ino();
  }
  FileInfo stat(const std::string& path) { return must(volume().stat(path)); }
  std::uint64_t free_bytes() { return volume().info().free_bytes; }
  void expect_consistent() {
    EXPECT_THAT(must(check_volume(*fixture_.issuer, *fixture_.device)).findings, IsEmpty());
  }
  VolumeFixture fixture_{MemoryDeviceOptions{.size_bytes = 16 << 20}};
};

TEST_F(VolumeLinks, LeadToTheSameFile) {
  const std::uint64_t ino = make_file("/a");
  must(volume().mkdir("/d"));
  must(volume().link("/a", "/d/b"));
  EXPECT_EQ(stat("/d/b").ino, ino);
  EXPECT_EQ(stat("/a").nlink, 2U);
  auto through_b = fixture_.reopen("/d/b");
  EXPECT_EQ(fixture_.contents(*through_b, 0, 8192), bytes_of(pattern(8192, 1).span()));
  EXPECT_EQ(volume().info().file_count, 1U);
}

TEST_F(VolumeLinks, KeepTheFileUntilTheLastNameGoes) {
  const std::uint64_t free_at_start = free_bytes();
  const std::uint64_t metadata_at_start = volume().info().metadata_bytes;
  make_file("/a");
  must(volume().link("/a", "/b"));
  must(volume().link("/b", "/c"));
  must(volume().unlink("/a"));
  must(volume().unlink("/c"));
  EXPECT_EQ(stat("/b").nlink, 1U);
  EXPECT_EQ(free_bytes(), free_at_start - 8192);
  must(volume().unlink("/b"));
  EXPECT_EQ(free_bytes(), free_at_start);
  EXPECT_EQ(volume().info().metadata_bytes, metadata_at_start);
}

TEST_F(VolumeLinks, SurviveReplayAndCheckpoint) {
  for (const bool clean : {false, true}) {
    SCOPED_TRACE(clean);
    const std::string a = clean ? "/a2" : "/a1";
    const std::string b = clean ? "/b2" : "/b1";
    const std::string c = clean ? "/c2" : "/c1";
    make_file(a);
    must(volume().link(a, b));
    must(volume().link(a, c));
    must(volume().unlink(a));
    must(volume().sync(*fixture_.issuer));
    if (clean) {
      fixture_.close();
    } else {
      fixture_.kill();
    }
    expect_consistent();
    fixture_.open();
    EXPECT_TRUE(is_error(volume().stat(a), Errc::not_found));
    EXPECT_EQ(stat(b).nlink, 2U);
    EXPECT_EQ(stat(b).ino, stat(c).ino);
    EXPECT_EQ(stat(b).allocated_bytes, 8192U);
  }
}

TEST_F(VolumeLinks, StayBothWhenOneIsRenamedToTheOther) {
  make_file("/a");
  must(volume().link("/a", "/b"));
  must(volume().rename("/a", "/b"));
  EXPECT_EQ(stat("/a").nlink, 2U);
  EXPECT_EQ(stat("/b").nlink, 2U);
}

TEST_F(VolumeLinks, LoseOneNameWhenAnotherFileReplacesIt) {
  const std::uint64_t kept = make_file("/a");
  must(volume().link("/a", "/b"));
  const std::uint64_t other = make_file("/x");
  must(volume().rename("/x", "/b"));
  EXPECT_EQ(stat("/a").ino, kept);
  EXPECT_EQ(stat("/a").nlink, 1U);
  EXPECT_EQ(stat("/b").ino, other);
  must(volume().sync(*fixture_.issuer));
  fixture_.kill();
  expect_consistent();
}

TEST_F(VolumeLinks, AreRefusedWhereTheyCannotBe) {
  make_file("/a");
  must(volume().mkdir("/d"));
  EXPECT_TRUE(is_error(volume().link("/d", "/e"), Errc::is_a_directory));
  EXPECT_TRUE(is_error(volume().link("/", "/e"), Errc::is_a_directory));
  EXPECT_TRUE(is_error(volume().link("/a", "/d"), Errc::exists));
  EXPECT_TRUE(is_error(volume().link("/a", "/a"), Errc::exists));
  EXPECT_TRUE(is_error(volume().link("/a", "/"), Errc::exists));
  EXPECT_TRUE(is_error(volume().link("/none", "/b"), Errc::not_found));
  EXPECT_TRUE(is_error(volume().link("/a", "/no/b"), Errc::not_found));
  EXPECT_TRUE(is_error(volume().link("/a", "/" + std::string(256, 'n')), Errc::too_large));
  EXPECT_EQ(stat("/a").nlink, 1U);
}

TEST_F(VolumeLinks, AreDurableAfterFsyncOfTheFile) {
  make_file("/a");
  must(volume().link("/a", "/b"));
  {
    auto file = fixture_.reopen("/a");
    must(file->fsync(*fixture_.issuer));
  }
  fixture_.kill();
  fixture_.open();
  EXPECT_EQ(stat("/b").nlink, 2U);
}

TEST_F(VolumeLinks, AndAllNamesOfADirectoryAreDurableAfterItsSync) {
  make_file("/a");
  must(volume().mkdir("/d"));
  must(volume().mkdir("/d/empty"));
  must(volume().sync_directory(*fixture_.issuer, "/d/empty"));
  fixture_.kill();
  fixture_.open();
  EXPECT_EQ(must(volume().list("/d")).size(), 1U);

  must(volume().link("/a", "/d/b"));
  must(volume().rename("/a", "/d/c"));
  must(volume().rmdir("/d/empty"));
  must(volume().sync_directory(*fixture_.issuer, "/d"));
  fixture_.kill();
  fixture_.open();
  std::vector<std::string> names;
  for (const DirEntry& entry : must(volume().list("/d")))
    names.push_back(entry.name);
  EXPECT_THAT(names, ::testing::ElementsAre("b", "c"));
  EXPECT_TRUE(is_error(volume().sync_directory(*fixture_.issuer, "/d/b"), Errc::not_a_directory));
  EXPECT_TRUE(is_error(volume().sync_directory(*fixture_.issuer, "/none"), Errc::not_found));
}

}  // namespace
}  // namespace handback::testing
