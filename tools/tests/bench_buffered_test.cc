// `handback bench buffered`: what it prints, writes, refuses and leaves behind. Nothing here
// depends on how fast anything was.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "handback/bench/buffered.h"
#include "handback/bench/buffered_load.h"
#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using Json = nlohmann::ordered_json;

class BenchBuffered : public ProgramTest {
 protected:
  // As short as it gets.
  static std::vector<std::string> tiny(const std::string& volume,
                                       const std::vector<std::string>& more = {}) {
    std::vector<std::string> line{"bench",     "buffered", "--volume",  volume, "--qd",   "1,3",
                                  "--seconds", "0.01",     "--repeats", "1",    "--size", "16M"};
    line.insert(line.end(), more.begin(), more.end());
    return line;
  }

  static std::vector<std::string> rows_of(const Json& json) {
    std::vector<std::string> rows;
    for (const auto& row : json["rows"]) {
      rows.push_back(row["load"].get<std::string>() + " " + row["qd"].dump() + ": " +
                     row["target"].get<std::string>());
      EXPECT_GT(row["iops"], 0);
      EXPECT_GT(row["bytes_per_second"], 0);
      EXPECT_LE(row["p50_ns"], row["p99_ns"]);
    }
    return rows;
  }

  [[nodiscard]] bool takes_direct_io() const {
    const int fd = open(path("probe").c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    unlink(path("probe").c_str());
    return fd >= 0;
  }

  [[nodiscard]] std::size_t names_in_folder() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder()),
                                                  std::filesystem::directory_iterator()));
  }
};

TEST_F(BenchBuffered, JsonOfTheMemoryDeviceHasEveryWayOfEveryLoad) {
  const Ran ran = run(tiny("mem", {"--json"}));
  EXPECT_RAN(ran);
  const Json json = Json::parse(ran.out);
  EXPECT_EQ(json["bench"], "buffered");
  EXPECT_EQ(json["device"], "mem");
  EXPECT_THAT(
      rows_of(json),
      ElementsAre("hits, 1 MiB 1: buffered, submit and poll", "hits, 1 MiB 1: buffered, run",
                  "hits, 1 MiB 1: memcpy", "hits, 16 MiB 1: buffered, submit and poll",
                  "hits, 16 MiB 1: buffered, run", "hits, 16 MiB 1: memcpy", "misses 1: buffered",
                  "misses 1: direct", "misses 1: direct, registered memory",
                  "misses 1: buffered, a blocking thread", "misses 3: buffered", "misses 3: direct",
                  "misses 3: direct, registered memory", "misses 3: buffered, 3 blocking threads",
                  "reads in order 1: buffered, 4 KiB", "reads in order 1: buffered, 128 KiB",
                  "reads in order 1: direct, 128 KiB", "writes in order 1: buffered, 128 KiB",
                  "writes in order 1: direct, 128 KiB"));
  ASSERT_EQ(json["ratios"].size(), 13U);
  const Json& ratio = json["ratios"][7];
  EXPECT_EQ(ratio["load"], "misses");
  EXPECT_EQ(ratio["target"], "buffered");
  EXPECT_EQ(ratio["over"], "direct");
  // Of one pair.
  EXPECT_EQ(ratio["ratio"], ratio["pair_min"]);
  EXPECT_EQ(ratio["ratio"], ratio["pair_max"]);
}

TEST_F(BenchBuffered, AHostFileIsHeldAgainstItsFileSystemAndNothingIsLeftBehind) {
  if (!takes_direct_io()) GTEST_SKIP() << "needs O_DIRECT in " << folder();
  const Ran ran =
      run(tiny(path("bench.img"), {"--against", folder(), "--only", "misses,order", "--json"}));
  if (ran.exit_code != 0 && ran.err.find("io_uring") != std::string::npos)
    GTEST_SKIP() << "the host's side needs io_uring: " << ran.err;
  EXPECT_RAN(ran);
  EXPECT_EQ(names_in_folder(), 0U);
  const Json json = Json::parse(ran.out);
  EXPECT_EQ(json["device"], "host-file");
  const auto rows = rows_of(json);
  ASSERT_EQ(rows.size(), 17U);
  EXPECT_THAT(rows[4], HasSubstr("io_uring"));
  EXPECT_THAT(rows[13], HasSubstr("pread"));
  EXPECT_THAT(rows[16], HasSubstr("pwrite"));
}

TEST_F(BenchBuffered, OnlyTheLoadsThatWereAskedForAreInThePageAndOnTheTerminal) {
  const Ran ran = run(tiny("mem", {"--only", "hits", "--markdown", path("page.md")}));
  EXPECT_RAN(ran);
  EXPECT_THAT(ran.out, HasSubstr("memcpy"));
  EXPECT_THAT(ran.out, Not(HasSubstr("direct")));
  const std::string page = read_file(path("page.md"));
  EXPECT_THAT(page, HasSubstr("### Buffered I/O: a volume on the memory device"));
  EXPECT_THAT(page, HasSubstr("| 1 MiB | buffered, run |"));
  EXPECT_THAT(page, Not(HasSubstr("direct")));
}

TEST_F(BenchBuffered, AFileThatIsThereIsLeftAlone) {
  write_file(path("photo"), scrambled(8U << 20));
  expect_refused(path("photo"), tiny(path("photo")), 1, {"photo", "exists"});
  const std::string volume = make_volume();
  expect_refused(volume, tiny(volume), 1, {"exists"});
}

TEST_F(BenchBuffered, AWrongCommandLineIsExplainedBeforeAnythingIsMade) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> lines{
      {{"--qd", "0"}, "--qd"},
      {{"--qd", "257"}, "--qd"},
      {{"--seconds", "0"}, "--seconds"},
      {{"--repeats", "0"}, "--repeats"},
      {{"--size", "8M"}, "--size"},
      {{"--only", "everything"}, "--only"},
      {{"--volume", "null"}, "--volume"},
      {{"--frobnicate"}, "--frobnicate"}};
  for (const auto& [more, word] : lines) {
    SCOPED_TRACE(::testing::PrintToString(more));
    std::vector<std::string> line{"bench", "buffered"};
    if (more.front() != "--volume") line.insert(line.end(), {"--volume", path("bench.img")});
    line.insert(line.end(), more.begin(), more.end());
    const Ran ran = run(line);
    EXPECT_EQ(ran.exit_code, 2) << ran.out << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(word));
    EXPECT_FALSE(exists(path("bench.img")));
  }
}

TEST(ReadOrder, HasEachBlockOnceInARound) {
  const ReadOrder order(64 * buffered_read_bytes, 7);
  ASSERT_EQ(order.count(), 64U);
  std::set<std::uint64_t> seen;
  for (std::uint64_t n = 0; n < 64; ++n)
    seen.insert(order.offset(n));
  EXPECT_EQ(seen.size(), 64U);
  EXPECT_EQ(*seen.rbegin(), 63 * buffered_read_bytes);
  EXPECT_EQ(order.offset(64), order.offset(0));
}

TEST(BufferedRatios, AreOfBytesPerSecondAndWithinOneLoadAndDepth) {
  const auto run = [](std::uint64_t requests) {
    RunResult result;
    result.requests = requests;
    result.elapsed_ns = 1'000'000'000;
    return std::vector<RunResult>{result};
  };
  BufferedResult result;
  result.rows.push_back(
      {.load = "a", .target = "4 KiB", .depth = 1, .bytes = 4096, .ours = true, .runs = run(64)});
  result.rows.push_back(
      {.load = "a", .target = "8 KiB", .depth = 1, .bytes = 8192, .ours = false, .runs = run(16)});
  result.rows.push_back(
      {.load = "a", .target = "deeper", .depth = 2, .bytes = 4096, .ours = false, .runs = run(1)});
  result.rows.push_back(
      {.load = "b", .target = "other", .depth = 1, .bytes = 4096, .ours = false, .runs = run(1)});
  const auto ratios = buffered_ratios(result);
  ASSERT_EQ(ratios.size(), 1U);
  EXPECT_EQ(ratios[0].over, &result.rows[1]);
  EXPECT_EQ(ratios[0].pairs.median, 2);
}

}  // namespace
}  // namespace tool::testing
