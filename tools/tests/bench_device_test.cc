// `handback bench device`: what it prints, writes, refuses and leaves behind. Nothing here depends
// on how fast anything was.
#include <gmock/gmock.h>
#include <handback/host_device.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "handback/bench/device_comparison.h"
#include "handback/bench/system_calls.h"
#include "tests/loop_device.h"
#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using Json = nlohmann::ordered_json;

TEST(DeviceOffsets, SequentialOnesStayInTheirAreaAndBeginAnew) {
  DeviceOffsets offsets({.access = DeviceAccess::sequential_read,
                         .area = {.begin = 1U << 20, .bytes = (128U << 10) * 2 + 4096}});
  EXPECT_EQ(offsets.next(), 1U << 20);
  EXPECT_EQ(offsets.next(), (1U << 20) + (128U << 10));
  EXPECT_EQ(offsets.next(), 1U << 20);
}

TEST(DeviceOffsets, RandomOnesStayInTheirArea) {
  DeviceOffsets offsets(
      {.access = DeviceAccess::random_overwrite, .area = {.begin = 1U << 20, .bytes = 2 * 4096}});
  bool first = false;
  bool second = false;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t offset = offsets.next();
    ASSERT_TRUE(offset == 1U << 20 || offset == (1U << 20) + 4096) << offset;
    (offset == 1U << 20 ? first : second) = true;
  }
  EXPECT_TRUE(first && second);
}

TEST(SystemCalls, AreThoseOfThisThread) {
  const SystemCalls calls;
  if (!calls.unavailable().empty()) GTEST_SKIP() << calls.unavailable();
  const std::uint64_t before = calls.count();
  for (int i = 0; i < 7; ++i)
    static_cast<void>(getppid());
  // And the one that asked before.
  EXPECT_EQ(calls.count() - before, 8U);
}

class BenchDevice : public ProgramTest {
 protected:
  // As short as it gets.
  static std::vector<std::string> tiny(const std::string& target,
                                       const std::vector<std::string>& more = {}) {
    std::vector<std::string> line{"bench", "device",    target, "--qd",   "1,3", "--seconds",
                                  "0.01",  "--repeats", "1",    "--size", "16M"};
    line.insert(line.end(), more.begin(), more.end());
    return line;
  }

  // Empty, or why the comparison cannot run here.
  [[nodiscard]] std::string no_uring() const {
    write_file(path("probe"), std::string(4096, '\0'));
    handback::HostDeviceOptions ring;
    ring.engine = handback::HostEngine::io_uring;
    const auto probe = handback::open_host_device(path("probe"), ring);
    unlink(path("probe").c_str());
    return probe ? "" : probe.error().message();
  }

  [[nodiscard]] std::size_t names_in_folder() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder()),
                                                  std::filesystem::directory_iterator()));
  }
};

TEST_F(BenchDevice, JsonHasBothTargetsForEveryLoadAtEveryDepthAndTheFileIsRemoved) {
  if (const std::string why = no_uring(); !why.empty()) GTEST_SKIP() << why;
  const Ran ran = run(tiny(path("bench.img"), {"--json"}));
  EXPECT_RAN(ran);
  EXPECT_EQ(names_in_folder(), 0U);
  const Json json = Json::parse(ran.out);
  EXPECT_EQ(json["bench"], "device");
  EXPECT_EQ(json["kind"], "host-file");
  std::vector<std::string> rows;
  for (const auto& row : json["rows"]) {
    rows.push_back(row["load"].get<std::string>() + " " + row["qd"].dump() + " " +
                   row["target"].get<std::string>());
    EXPECT_GT(row["iops"], 0);
    EXPECT_EQ(row["iops"], row["iops_min"]);
    EXPECT_LE(row["p50_ns"], row["p99_ns"]);
    EXPECT_LE(row["p99_ns"], row["p999_ns"]);
    EXPECT_GT(row["cpu_ns_per_io"], 0);
    EXPECT_TRUE(row["system_calls_per_io"].is_null() || row["system_calls_per_io"] > 0);
  }
  std::vector<std::string> expected;
  for (const char* load : {"4 KiB random read", "4 KiB random overwrite", "128 KiB sequential read",
                           "128 KiB sequential overwrite"}) {
    for (const char* depth : {" 1 ", " 3 "}) {
      for (const char* target : {"handback", "plain"})
        expected.push_back(std::string(load) + depth + target);
    }
  }
  EXPECT_THAT(rows, ElementsAreArray(expected));
  ASSERT_EQ(json["ratios"].size(), 8U);
  for (const auto& ratio : json["ratios"]) {
    // Of one pair.
    EXPECT_EQ(ratio["handback_over_plain"], ratio["pair_min"]);
    EXPECT_EQ(ratio["p99_over_plain"], ratio["p99_pair_max"]);
  }
}

TEST_F(BenchDevice, ItsSectionOfThePageIsReplacedAndTheRestStays) {
  if (const std::string why = no_uring(); !why.empty()) GTEST_SKIP() << why;
  write_file(path("page.md"), "# Page\n\nby hand\n");
  for (int i = 0; i < 2; ++i) {
    const Ran ran = run(tiny(path("bench.img"), {"--markdown", path("page.md")}));
    EXPECT_RAN(ran);
    EXPECT_THAT(ran.out, HasSubstr("at least 0.97"));
  }
  const std::string page = read_file(path("page.md"));
  EXPECT_THAT(page, StartsWith("# Page\n\nby hand\n"));
  EXPECT_THAT(page, HasSubstr("<!-- begin device host-file"));
  EXPECT_THAT(page, HasSubstr("| 4 KiB random read | 3 | plain | "));
  EXPECT_EQ(page.find("### Device"), page.rfind("### Device"));
}

TEST_F(BenchDevice, AFileThatIsThereIsNotWrittenOver) {
  write_file(path("photo"), scrambled(20U << 20));
  expect_refused(path("photo"), tiny(path("photo")), 1, {"photo", "is there already"});
  EXPECT_EQ(run(tiny(folder())).exit_code, 1);
  EXPECT_EQ(run(tiny(path("no/folder/bench.img"))).exit_code, 1);
}

TEST_F(BenchDevice, ABlockDeviceIsWrittenToOnlyIfItIsBlankAndStaysBlankAtItsEdges) {
  if (const std::string why = no_uring(); !why.empty()) GTEST_SKIP() << why;
  write_file(path("disk"), "");
  std::filesystem::resize_file(path("disk"), 32U << 20);
  const LoopDevice loop(path("disk"));
  if (loop.path().empty()) GTEST_SKIP() << "needs a loop device";
  expect_refused(path("disk"),
                 {"bench", "device", loop.path(), "--size", "31M", "--seconds", "0.01"}, 5,
                 {"smaller --size"});
  EXPECT_RAN(run(tiny(loop.path())));
  // What it left itself is no obstacle; what somebody made since is.
  EXPECT_RAN(run(tiny(loop.path())));
  EXPECT_RAN(run({"format", loop.path()}));
  expect_refused(path("disk"), tiny(loop.path()), 1, {"is not blank"});
}

TEST_F(BenchDevice, AWrongCommandLineIsExplainedBeforeAnythingIsMade) {
  const std::string image = path("bench.img");
  const std::vector<std::pair<std::vector<std::string>, std::string>> lines{
      {{"--qd", "0"}, "--qd"},           {{"--qd", "1,1025"}, "--qd"},
      {{"--seconds", "0"}, "--seconds"}, {{"--repeats", "0"}, "--repeats"},
      {{"--size", "5000"}, "--size"},    {{"--frobnicate"}, "--frobnicate"}};
  for (const auto& [more, word] : lines) {
    SCOPED_TRACE(::testing::PrintToString(more));
    std::vector<std::string> line{"bench", "device", image};
    line.insert(line.end(), more.begin(), more.end());
    const Ran ran = run(line);
    EXPECT_EQ(ran.exit_code, 2) << ran.out << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(word));
    EXPECT_FALSE(exists(image));
  }
  const Ran ran = run({"bench", "device"});
  EXPECT_EQ(ran.exit_code, 2) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("target"));
}

}  // namespace
}  // namespace tool::testing
