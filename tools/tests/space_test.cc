// What the program does with the space of files and volumes.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::HasSubstr;

class Space : public ProgramTest {
 protected:
  nlohmann::json df(const std::string& image) {
    return nlohmann::json::parse(run({"df", image, "--json"}).out);
  }
  nlohmann::json stat(const std::string& image, const std::string& file) {
    return nlohmann::json::parse(run({"stat", image, file, "--json"}).out);
  }
};

TEST_F(Space, PunchFreesWholeBlocksAndZeroesTheRest) {
  const std::string image = make_volume();
  std::string expected = scrambled(40'000, 3);
  write_file(path("f"), expected);
  EXPECT_RAN(run({"put", image, path("f"), "/f"}));
  const std::uint64_t free_before = df(image)["free_bytes"];
  EXPECT_RAN(run({"punch", image, "/f", "--offset", "1000", "--length", "12K"}));
  std::fill_n(expected.begin() + 1000, 12 << 10, '\0');
  EXPECT_TRUE(run({"cat", image, "/f"}).out == expected);
  EXPECT_EQ(df(image)["free_bytes"], free_before + 8192);
  EXPECT_RAN(run({"punch", image, "/f", "--offset", "20K", "--keep-space"}));
  std::fill(expected.begin() + (20 << 10), expected.end(), '\0');
  EXPECT_TRUE(run({"cat", image, "/f"}).out == expected);
  EXPECT_EQ(df(image)["free_bytes"], free_before + 8192);
  EXPECT_EQ(run({"punch", image, "/none"}).exit_code, 1);
  EXPECT_EQ(run({"punch", image, "/f", "--length", "much"}).exit_code, 2);
  EXPECT_RAN(run({"check", image}));
}

TEST_F(Space, PreallocateReservesOrInitialises) {
  const std::string image = make_volume();
  EXPECT_RAN(run({"preallocate", image, "/reserved", "--length", "64K"}));
  EXPECT_EQ(stat(image, "/reserved")["size_bytes"], 0);
  EXPECT_EQ(stat(image, "/reserved")["extents"][0]["unwritten"], true);
  EXPECT_RAN(run({"preallocate", image, "/wal", "--length", "1M", "--initialised", "--extend"}));
  EXPECT_EQ(stat(image, "/wal")["size_bytes"], 1 << 20);
  EXPECT_EQ(stat(image, "/wal")["extents"][0]["unwritten"], false);
  EXPECT_TRUE(run({"cat", image, "/wal"}).out == std::string(1 << 20, '\0'));
  const Ran too_much = run({"preallocate", image, "/big", "--length", "1T", "--initialised"});
  EXPECT_EQ(too_much.exit_code, 5);
  EXPECT_THAT(too_much.err, HasSubstr("free"));
  EXPECT_EQ(run({"preallocate", image, "/none"}).exit_code, 2);
  EXPECT_RAN(run({"check", image}));
}

TEST_F(Space, ChecksumsOfDataAreChosenAtFormatAndFindWhatDecayed) {
  const std::string image = path("sums.img");
  EXPECT_RAN(run({"format", image, "--size", "8M", "--data-checksums"}));
  EXPECT_EQ(df(image)["data_checksums"], true);
  EXPECT_EQ(df(make_volume())["data_checksums"], false);
  EXPECT_THAT(run({"df", image}).out, HasSubstr("checksums of data"));
  write_file(path("f"), scrambled(40'960));
  EXPECT_RAN(run({"put", image, path("f"), "/f"}));
  EXPECT_RAN(run({"check", image, "--data"}));
  const std::uint64_t addr = stat(image, "/f")["extents"][0]["addr"];
  std::string bytes = read_file(image);
  bytes[addr + 4096 + 7] ^= 1;
  write_file(image, bytes);
  EXPECT_RAN(run({"check", image}));
  const Ran check = run({"check", image, "--data"});
  EXPECT_EQ(check.exit_code, 3);
  EXPECT_THAT(check.out, HasSubstr("data, inode 2 ('/f'), bytes 4096 to 8191"));
  const Ran cat = run({"cat", image, "/f"});
  EXPECT_NE(cat.exit_code, 0);
  EXPECT_THAT(cat.err, HasSubstr("a block of data is not as it was written"));
  const Ran grow = run({"grow", image, "--size", "16M"});
  EXPECT_NE(grow.exit_code, 0);
  EXPECT_THAT(grow.err, HasSubstr("does not grow"));
  EXPECT_EQ(read_file(image).size(), std::size_t{8} << 20);
}

TEST_F(Space, GrowMakesAVolumeAndItsFileLarger) {
  const std::string image = make_volume("vol.img", "8M");
  write_file(path("f"), scrambled(100'000));
  EXPECT_RAN(run({"put", image, path("f"), "/f"}));
  const std::uint64_t free_before = df(image)["free_bytes"];
  const Ran nothing = run({"grow", image});
  EXPECT_RAN(nothing);
  EXPECT_THAT(nothing.out, HasSubstr("already"));
  const Ran grown = run({"grow", image, "--size", "20M"});
  EXPECT_RAN(grown);
  EXPECT_THAT(grown.out, HasSubstr("from 8"));
  EXPECT_EQ(df(image)["size_bytes"], 20 << 20);
  EXPECT_EQ(df(image)["free_bytes"], free_before + (12 << 20));
  EXPECT_TRUE(run({"cat", image, "/f"}).out == scrambled(100'000));
  EXPECT_EQ(run({"grow", image, "--size", "10M"}).exit_code, 1);
  EXPECT_RAN(run({"check", image}));
}

TEST_F(Space, TheBenchmarksOfOpeningAndOfCheckpointsPrintJson) {
  const Ran opened =
      run({"bench", "open", "--extents", "2000", "--files", "500", "--repeats", "1", "--json"});
  EXPECT_RAN(opened);
  const auto rows = nlohmann::json::parse(opened.out)["rows"];
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0]["extents"], 2000);
  EXPECT_EQ(rows[1]["files"], 500);
  EXPECT_GT(rows[0]["memory_bytes_per_extent"], 16);
  EXPECT_LE(rows[0]["memory_bytes_per_extent"], 64);
  const Ran checkpoints =
      run({"bench", "checkpoint", "--extents", "2000", "--checkpoints", "1", "--json"});
  EXPECT_RAN(checkpoints);
  EXPECT_EQ(nlohmann::json::parse(checkpoints.out)["checkpoints"], 1);
}

}  // namespace
}  // namespace tool::testing
