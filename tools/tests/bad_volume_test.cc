// Things that are no volume, or a damaged one: exit code 3, a reason, and not one byte changed.
#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::HasSubstr;

// Of docs/format.md: metadata starts with a header of 64 bytes, its checksum computed as if it were
// zero.
constexpr std::size_t block = 4096;
constexpr std::size_t at_checksum = 52;
constexpr std::size_t at_version_major = 64;
constexpr std::size_t at_version_minor = 66;
constexpr std::size_t at_features = 72;
constexpr std::size_t at_layout = 80;  // Of the superblock: eight numbers, total_blocks first.
constexpr std::size_t at_log_start = at_layout + 8;
constexpr std::size_t at_slot_starts = at_layout + 24;

std::uint32_t crc32c(const std::string& bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const char letter : bytes) {
    crc ^= static_cast<unsigned char>(letter);
    for (int bit = 0; bit < 8; ++bit)
      crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

std::uint64_t number_in(const std::string& image, std::size_t at) {
  std::uint64_t value = 0;
  std::memcpy(&value, read_file(image).data() + at, sizeof(value));
  return value;
}

template <typename T>
void put_number(std::string* bytes, std::size_t at, T value) {
  std::memcpy(bytes->data() + at, &value, sizeof(value));
}

void flip(const std::string& image, std::size_t at) {
  std::string bytes = read_file(image);
  bytes.at(at) = static_cast<char>(bytes[at] ^ 0x10);
  write_file(image, bytes);
}

// Changes both superblocks and seals them again.
void edit_superblocks(const std::string& image, const std::function<void(std::string*)>& edit) {
  std::string bytes = read_file(image);
  for (const std::size_t at : {std::size_t{0}, bytes.size() - block}) {
    std::string superblock = bytes.substr(at, block);
    edit(&superblock);
    put_number<std::uint32_t>(&superblock, at_checksum, 0);
    put_number(&superblock, at_checksum, crc32c(superblock));
    bytes.replace(at, block, superblock);
  }
  write_file(image, bytes);
}

class BadVolume : public ProgramTest {
 protected:
  // Every way of opening: reading, checking, writing.
  static std::vector<std::vector<std::string>> commands(const std::string& image) {
    return {{"ls", image},
            {"check", image},
            {"mkdir", image, "/x"},
            {"df", image},
            {"cat", image, "/a"}};
  }

  // Opening is an error; check says the same, as findings where it can tell more.
  static void expect_all_refuse(const std::string& image, const std::vector<std::string>& words) {
    for (const auto& command : commands(image)) {
      if (command[0] != "check") expect_refused(image, command, 3, words);
    }
    const std::string before = read_file(image);
    const Ran check = run({"check", image});
    EXPECT_EQ(check.exit_code, 3);
    for (const auto& word : words)
      EXPECT_THAT(check.out + check.err, HasSubstr(word));
    EXPECT_TRUE(read_file(image) == before) << "the image was changed";
  }

  // A volume with a file and some directories, closed.
  std::string make_filled() {
    std::string image = make_volume("vol.img", "8M");
    write_file(path("a"), scrambled(100'000));
    EXPECT_RAN(run({"put", image, path("a"), "/a"}));
    EXPECT_RAN(run({"mkdir", "-p", image, "/some/directories"}));
    return image;
  }

  // A volume that was not closed: three directories are in three records of its log, nothing else
  // is.
  std::string make_unclosed() {
    std::string image = make_volume("vol.img", "8M");
    EXPECT_EQ(run_program(HB_WRITE_AND_DIE, {image}).exit_code, 137);
    return image;
  }
};

using UnclosedVolume = BadVolume;

TEST_F(BadVolume, WhatDoesNotExistIsNotFound) {
  for (const auto& command : commands(path("missing"))) {
    const Ran ran = run(command);
    EXPECT_EQ(ran.exit_code, 1);
    EXPECT_THAT(ran.err, HasSubstr(path("missing")));
  }
  EXPECT_FALSE(exists(path("missing")));
}

TEST_F(BadVolume, ForeignFilesAreNoVolumes) {
  write_file(path("foreign"), scrambled(5U << 20));
  expect_all_refuse(path("foreign"), {path("foreign"), "no Handback volume"});
  write_file(path("zeros"), std::string(5U << 20, '\0'));
  expect_all_refuse(path("zeros"), {path("zeros"), "no Handback volume"});
  write_file(path("text"), "#!/bin/sh\necho this is a script\n");
  expect_all_refuse(path("text"), {path("text")});
}

TEST_F(BadVolume, ShortFilesAreNoVolumes) {
  write_file(path("empty"), "");
  expect_all_refuse(path("empty"), {path("empty"), "empty"});
  for (const std::size_t size : {1, 511, 512, 4095, 4096, 12288}) {
    write_file(path("short"), scrambled(size));
    expect_all_refuse(path("short"), {path("short")});
  }
}

TEST_F(BadVolume, ADirectoryIsNoVolume) {
  std::filesystem::create_directory(path("folder"));
  for (const auto& command : commands(path("folder"))) {
    const Ran ran = run(command);
    EXPECT_EQ(ran.exit_code, 3);
    EXPECT_THAT(ran.err, HasSubstr("is a directory"));
  }
  EXPECT_EQ(run({"format", path("folder"), "--force"}).exit_code, 1);
  EXPECT_EQ(run({"format", path("folder"), "--size", "8M"}).exit_code, 1);
}

TEST_F(BadVolume, ACharacterDeviceIsNoVolume) {
  const Ran ran = run({"ls", "/dev/null"});
  EXPECT_EQ(ran.exit_code, 3);
  EXPECT_THAT(ran.err, HasSubstr("neither a regular file nor a block device"));
}

TEST_F(BadVolume, ATruncatedVolumeIsRefusedAtEveryLength) {
  const std::string image = make_filled();
  const std::string whole = read_file(image);
  for (const std::size_t length :
       {whole.size() - 1, whole.size() - block, whole.size() / 2, 20 * block, 4 * block, 3 * block,
        2 * block, block, block - 1, std::size_t{1}}) {
    SCOPED_TRACE(length);
    write_file(image, whole.substr(0, length));
    expect_all_refuse(image, {image});
  }
  write_file(image, whole);
  EXPECT_RAN(run({"check", image}));
}

TEST_F(BadVolume, AFlippedSuperblockIsReplacedByItsBackupAndReported) {
  const std::string image = make_filled();
  const std::string good = read_file(image);
  for (const std::size_t at :
       {std::size_t{0}, std::size_t{8}, std::size_t{24}, at_layout, block - 1}) {
    SCOPED_TRACE(at);
    flip(image, at);
    EXPECT_TRUE(run({"cat", image, "/a"}).out == read_file(path("a")));
    const Ran check = run({"check", image});
    EXPECT_EQ(check.exit_code, 3);
    EXPECT_THAT(check.out, HasSubstr("superblock"));
    EXPECT_THAT(check.out, HasSubstr("backup"));
    write_file(image, good);
  }
}

TEST_F(BadVolume, ASuperblockFlippedInBothCopiesIsRefused) {
  const std::string image = make_filled();
  flip(image, 100);
  flip(image, read_file(image).size() - block + 100);
  expect_all_refuse(image, {image, "superblock", "checksum"});
}

TEST_F(BadVolume, OneFlippedRootCostsNothing) {
  for (const std::size_t root : {std::size_t{1}, std::size_t{2}}) {
    SCOPED_TRACE(root);
    const std::string image = make_filled();
    const std::string listing = run({"ls", "-R", image}).out;
    flip(image, root * block + 70);
    EXPECT_EQ(run({"ls", "-R", image}).out, listing);
    EXPECT_TRUE(run({"cat", image, "/a"}).out == read_file(path("a")));
    const Ran check = run({"check", image});
    EXPECT_EQ(check.exit_code, 3);
    EXPECT_THAT(check.out, HasSubstr("block " + std::to_string(root) + ": root"));
    std::filesystem::remove(image);
  }
}

TEST_F(BadVolume, BothRootsFlippedAreRefused) {
  const std::string image = make_filled();
  flip(image, 1 * block + 70);
  flip(image, 2 * block + 70);
  expect_all_refuse(image, {"root", "checksum"});
}

TEST_F(BadVolume, AFlippedCheckpointIsRefused) {
  const std::string image = make_filled();
  // Both areas: which one is in use depends on how often the volume was closed.
  for (const std::size_t slot : {0, 1}) {
    flip(image, number_in(image, at_slot_starts + 8 * slot) * block + 90);
  }
  expect_all_refuse(image, {"checkpoint", "checksum"});
}

TEST_F(UnclosedVolume, IsReadWithoutBeingChangedAndRecoveredByTheFirstWriter) {
  const std::string image = make_unclosed();
  const std::string before = read_file(image);
  const Ran ls = run({"ls", image});
  EXPECT_EQ(ls.exit_code, 0);
  EXPECT_EQ(ls.out, "first/\nsecond/\nthird/\n");
  EXPECT_THAT(ls.err, HasSubstr("was not closed; recovered: 3 log records"));
  const Ran check = run({"check", image});
  EXPECT_EQ(check.exit_code, 0);
  EXPECT_THAT(check.out, HasSubstr("will recover 3 log records with 3 changes"));
  EXPECT_TRUE(read_file(image) == before);
  EXPECT_EQ(run({"mkdir", image, "/fourth"}).exit_code, 0);
  EXPECT_EQ(run({"ls", image}).out, "first/\nfourth/\nsecond/\nthird/\n");
  EXPECT_EQ(run({"ls", image}).err, "");
}

TEST_F(UnclosedVolume, WithAFlippedLogRecordBeforeOthersIsRefused) {
  const std::string image = make_unclosed();
  flip(image, number_in(image, at_log_start) * block + 70);
  expect_all_refuse(image, {"log", "damaged"});
}

TEST_F(UnclosedVolume, WithAFlippedLastLogRecordLosesThatRecordOnly) {
  const std::string image = make_unclosed();
  flip(image, (number_in(image, at_log_start) + 2) * block + 70);
  const Ran ls = run({"ls", image});
  EXPECT_EQ(ls.out, "first/\nsecond/\n");
  EXPECT_THAT(ls.err, HasSubstr("unfinished record"));
  EXPECT_EQ(run({"mkdir", image, "/fourth"}).exit_code, 0);
  EXPECT_RAN(run({"check", image}));
  EXPECT_EQ(run({"ls", image}).out, "first/\nfourth/\nsecond/\n");
}

TEST_F(BadVolume, AVolumeOfAFutureVersionIsRefused) {
  const std::string image = make_filled();
  edit_superblocks(image, [](std::string* superblock) {
    put_number<std::uint16_t>(superblock, at_version_major, 3);
  });
  expect_all_refuse(image, {"format 3.0", "newer"});
  expect_refused(image, {"format", image}, 1, {"cannot be opened", "--force"});
}

TEST_F(BadVolume, AVolumeWithUnknownIncompatibleFeaturesIsRefused) {
  const std::string image = make_filled();
  edit_superblocks(image, [](std::string* superblock) {
    put_number<std::uint64_t>(superblock, at_features, std::uint64_t{1} << 40);
  });
  expect_all_refuse(image, {"incompatible features", "newer"});
}

TEST_F(BadVolume, AVolumeOfANewerMinorVersionIsRead) {
  const std::string image = make_filled();
  edit_superblocks(image, [](std::string* superblock) {
    put_number<std::uint16_t>(superblock, at_version_minor, 9);
  });
  EXPECT_TRUE(run({"cat", image, "/a"}).out == read_file(path("a")));
  EXPECT_RAN(run({"check", image}));
}

TEST_F(BadVolume, ASealedSuperblockWithImpossibleAreasIsRefused) {
  const std::string image = make_filled();
  const std::string good = read_file(image);
  for (std::size_t field = 0; field < 8; ++field) {
    for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
      SCOPED_TRACE(field);
      edit_superblocks(image, [&](std::string* superblock) {
        put_number(superblock, at_layout + 8 * field, value);
      });
      // Every program opens it in the same way: one is enough for most values.
      if (value == 1) {
        expect_all_refuse(image, {"superblock"});
      } else {
        expect_refused(image, {"ls", image}, 3, {"superblock"});
      }
      write_file(image, good);
    }
  }
}

TEST_F(BadVolume, FormatWithForceMakesADamagedVolumeUsableAgain) {
  const std::string image = make_filled();
  flip(image, 1 * block + 70);
  flip(image, 2 * block + 70);
  expect_refused(image, {"format", image}, 1, {"cannot be opened", "--force"});
  EXPECT_RAN(run({"format", image, "--force"}));
  EXPECT_RAN(run({"check", image}));
  EXPECT_EQ(run({"ls", image}).out, "");
}

TEST_F(BadVolume, FindingsAreListedAsJsonToo) {
  const std::string image = make_filled();
  flip(image, 2 * block + 70);
  const Ran ran = run({"check", image, "--json"});
  EXPECT_EQ(ran.exit_code, 3);
  const auto json = nlohmann::json::parse(ran.out);
  EXPECT_EQ(json["consistent"], false);
  ASSERT_EQ(json["findings"].size(), 1);
  EXPECT_EQ(json["findings"][0]["block"], 2);
  EXPECT_EQ(json["findings"][0]["structure"], "root");
  EXPECT_NE(json["findings"][0]["consequence"], "");
}

TEST_F(BadVolume, ARepairSaysWhatItWillDoAndHasTheExitCodesOfFsck) {
  const std::string image = make_filled();
  EXPECT_EQ(run({"check", image, "--repair"}).exit_code, 0);
  flip(image, 2 * block + 70);
  const std::string before = read_file(image);
  const std::string step = "write the root in block 2 anew from the one in block 1";
  const Ran dry = run({"check", image, "--repair", "--dry-run"});
  EXPECT_EQ(dry.exit_code, 4);
  EXPECT_THAT(dry.out, HasSubstr(step));
  // Nobody is there to be asked.
  const Ran unasked = run({"check", image, "--repair"});
  EXPECT_EQ(unasked.exit_code, 4);
  EXPECT_THAT(unasked.out, HasSubstr("--yes"));
  EXPECT_TRUE(read_file(image) == before);
  const Ran done = run({"check", image, "--repair", "--yes", "--json"});
  EXPECT_EQ(done.exit_code, 1);
  const auto json = nlohmann::json::parse(done.out);
  EXPECT_EQ(json["repair"]["outcome"], "repaired");
  EXPECT_EQ(json["repair"]["plan"][0], step);
  EXPECT_EQ(json["repair"]["blocks_written"], 1);
  EXPECT_RAN(run({"check", image}));
  EXPECT_TRUE(run({"cat", image, "/a"}).out == read_file(path("a")));
}

TEST_F(BadVolume, ARepairThatWouldTakeAGuessIsRefusedUntouched) {
  const std::string image = make_filled();
  flip(image, 1 * block + 70);
  flip(image, 2 * block + 70);
  const std::string before = read_file(image);
  const Ran ran = run({"check", image, "--repair", "--yes"});
  EXPECT_EQ(ran.exit_code, 4);
  EXPECT_THAT(ran.out, HasSubstr("root (block 1), checksum"));
  EXPECT_THAT(ran.out, HasSubstr("nothing was changed"));
  EXPECT_TRUE(read_file(image) == before);
  EXPECT_EQ(run({"check", path("missing"), "--repair"}).exit_code, 8);
  EXPECT_EQ(run({"check", image, "--dry-run"}).exit_code, 2);
  EXPECT_EQ(run({"check", image, "--repair", "--dry-run", "--yes"}).exit_code, 2);
}

}  // namespace
}  // namespace tool::testing
