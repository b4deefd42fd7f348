// `handback bench completions`: what it prints, writes, draws, refuses and leaves behind. Nothing
// here depends on how fast anything was.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <handback/host_device.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/loop_device.h"
#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using Json = nlohmann::ordered_json;

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items())
    keys.push_back(key);
  return keys;
}

class BenchCompletions : public ProgramTest {
 protected:
  // As short as it gets.
  static std::vector<std::string> tiny(const std::string& device,
                                       const std::vector<std::string>& more = {}) {
    std::vector<std::string> line{"bench",     "completions", "--device",  device,
                                  "--qd",      "1,3,8",       "--seconds", "0.05",
                                  "--repeats", "1",           "--size",    "1M"};
    line.insert(line.end(), more.begin(), more.end());
    return line;
  }

  static void expect_whole_json(const Ran& ran, const std::string& device) {
    EXPECT_RAN(ran);
    const Json json = Json::parse(ran.out);
    EXPECT_THAT(keys_of(json),
                ElementsAre("bench", "device", "workers", "load_average", "rows", "ratios"));
    EXPECT_EQ(json["bench"], "completions");
    EXPECT_EQ(json["device"], device);
    EXPECT_EQ(json["workers"], 1);
    std::vector<std::string> rows;
    for (const auto& row : json["rows"]) {
      EXPECT_THAT(keys_of(row), ElementsAre("qd", "route", "iops", "p50_ns", "p99_ns", "p999_ns",
                                            "cpu_ns_per_io", "ctx_switches_per_io"));
      rows.push_back(row["qd"].dump() + " " + row["route"].get<std::string>());
      EXPECT_GT(row["iops"], 0);
      EXPECT_GT(row["cpu_ns_per_io"], 0);
      EXPECT_LE(row["p50_ns"], row["p99_ns"]);
      EXPECT_LE(row["p99_ns"], row["p999_ns"]);
    }
    EXPECT_THAT(rows, ElementsAre("1 inline", "1 issuer", "1 worker", "3 inline", "3 issuer",
                                  "3 worker", "8 inline", "8 issuer", "8 worker"));
    ASSERT_EQ(json["ratios"].size(), 3U);
    for (const auto& ratio : json["ratios"]) {
      EXPECT_THAT(keys_of(ratio), ElementsAre("qd", "issuer_over_worker", "pair_min", "pair_max",
                                              "inline_over_worker", "series"));
      // Of one pair.
      EXPECT_EQ(ratio["issuer_over_worker"], ratio["pair_min"]);
      EXPECT_EQ(ratio["issuer_over_worker"], ratio["pair_max"]);
    }
    EXPECT_EQ(json["ratios"][0]["series"], 1.045);
    EXPECT_EQ(json["ratios"][1]["series"], nullptr);
    EXPECT_EQ(json["ratios"][2]["series"], 1.369);
  }
};

TEST_F(BenchCompletions, JsonOfTheNullDeviceHasEveryRouteAtEveryDepth) {
  expect_whole_json(run(tiny("null", {"--json"})), "null");
}

TEST_F(BenchCompletions, JsonOfTheMemoryDeviceHasEveryRouteAtEveryDepth) {
  expect_whole_json(run(tiny("mem", {"--json"})), "mem");
}

TEST_F(BenchCompletions, AHostFileIsMadeMeasuredAndRemoved) {
  write_file(path("probe"), std::string(4096, '\0'));
  handback::HostDeviceOptions ring;
  ring.engine = handback::HostEngine::io_uring;
  if (const auto probe = handback::open_host_device(path("probe"), ring); !probe) {
    GTEST_SKIP() << "the routes of a host file need io_uring: " << probe.error().message();
  }
  expect_whole_json(run(tiny(path("bench.img"), {"--json"})), path("bench.img"));
  EXPECT_FALSE(exists(path("bench.img")));
}

TEST_F(BenchCompletions, ThePageForPeopleHasTheSeriesBesideItsOwnFigures) {
  const Ran ran = run(tiny("null"));
  EXPECT_RAN(ran);
  EXPECT_THAT(ran.out, HasSubstr("over worker"));
  EXPECT_THAT(ran.out, HasSubstr("+4.5 %"));
  EXPECT_THAT(ran.out, HasSubstr("+36.9 %"));
  EXPECT_THAT(ran.out, HasSubstr("1 worker"));
}

TEST_F(BenchCompletions, AWrongCommandLineIsExplainedBeforeAnythingIsMade) {
  const std::string image = path("bench.img");
  const std::vector<std::pair<std::vector<std::string>, std::string>> lines{
      {{"--qd", "0"}, "--qd"},
      {{"--qd", "1,1025"}, "--qd"},
      {{"--qd", "many"}, "--qd"},
      {{"--seconds", "0"}, "--seconds"},
      {{"--seconds", "-1"}, "--seconds"},
      {{"--seconds", "nan"}, "--seconds"},
      {{"--repeats", "0"}, "--repeats"},
      {{"--size", "5000"}, "--size"},
      {{"--size", "lots"}, "--size"},
      {{"--workers", "0"}, "--workers"},
      {{"--workers", "65"}, "--workers"},
      {{"--overwrite-device"}, "is no block device"},
      {{"--frobnicate"}, "--frobnicate"}};
  for (const auto& [more, word] : lines) {
    SCOPED_TRACE(::testing::PrintToString(more));
    std::vector<std::string> line{"bench", "completions", "--device", image};
    line.insert(line.end(), more.begin(), more.end());
    const Ran ran = run(line);
    EXPECT_EQ(ran.exit_code, 2) << ran.out << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(word));
    EXPECT_FALSE(exists(image));
  }
  const Ran ran = run({"bench", "completions", "--device", "mem", "--overwrite-device"});
  EXPECT_EQ(ran.exit_code, 2) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("is for block devices"));
}

TEST_F(BenchCompletions, WhatItDidNotMakeIsNeverWrittenTo) {
  write_file(path("photo"), scrambled(8U << 20));
  expect_refused(path("photo"), tiny(path("photo")), 1, {"photo", "exists"});
  expect_refused(path("photo"), tiny(path("photo"), {"--overwrite-device"}), 1, {"exists"});
  const std::string volume = make_volume();
  expect_refused(volume, tiny(volume), 1, {"exists"});
  EXPECT_EQ(run(tiny(folder())).exit_code, 1);
  EXPECT_EQ(run(tiny(path("no/folder/bench.img"))).exit_code, 1);
}

TEST_F(BenchCompletions, ABlockDeviceIsWrittenToOnlyIfThatIsSaidAndItIsBlank) {
  write_file(path("disk"), "");
  std::filesystem::resize_file(path("disk"), 80U << 20);
  const LoopDevice loop(path("disk"));
  if (loop.path().empty()) GTEST_SKIP() << "needs a loop device";
  expect_refused(path("disk"), tiny(loop.path()), 1, {"--overwrite-device"});
  expect_refused(
      path("disk"),
      {"bench", "completions", "--device", loop.path(), "--overwrite-device", "--size", "64M"}, 5,
      {"smaller --size"});
  EXPECT_RAN(run(tiny(loop.path(), {"--overwrite-device"})));
  // What it left itself is no obstacle; what somebody made since is.
  EXPECT_RAN(run(tiny(loop.path(), {"--overwrite-device"})));
  EXPECT_RAN(run({"format", loop.path(), "--force"}));
  expect_refused(path("disk"), tiny(loop.path(), {"--overwrite-device"}), 1, {"left alone"});
}

TEST_F(BenchCompletions, ASignalEndsItAndRemovesTheFile) {
  const std::string image = path("bench.img");
  RunOptions options;
  options.meanwhile = [&image](pid_t pid) {
    // Once the file is there, the program notes signals.
    while (!exists(image) && kill(pid, 0) == 0)
      sched_yield();
    kill(pid, SIGINT);
  };
  const Ran ran = run(
      {"bench", "completions", "--device", image, "--size", "1M", "--seconds", "3600"}, options);
  EXPECT_EQ(ran.exit_code, 130) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("its files were removed"));
  EXPECT_FALSE(exists(image));
}

TEST_F(BenchCompletions, ThePlotIsAnSvgThatNamesRoutesAndSeries) {
  if (run_program("/usr/bin/env", {"gnuplot", "--version"}).exit_code != 0) {
    GTEST_SKIP() << "needs gnuplot (Debian: gnuplot-nox)";
  }
  const Ran ran = run(tiny("null", {"--plot", path("routes.svg")}));
  EXPECT_RAN(ran);
  const std::string svg = read_file(path("routes.svg"));
  EXPECT_THAT(svg, StartsWith("<?xml"));
  EXPECT_THAT(svg, HasSubstr("<svg"));
  EXPECT_THAT(svg, HasSubstr("</svg>"));
  for (const char* word : {"inline", "issuer", "worker", "series, July 2023"})
    EXPECT_THAT(svg, HasSubstr(word));
}

TEST_F(BenchCompletions, WithoutGnuplotAPlotIsRefusedBeforeAnythingIsMeasured) {
  std::vector<std::string> line{"PATH=/nonexistent", HB_PROGRAM};
  for (const auto& word : tiny(path("bench.img"), {"--plot", path("x.svg")}))
    line.push_back(word);
  const Ran ran = run_program("/usr/bin/env", line);
  EXPECT_EQ(ran.exit_code, 1) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("apt-get install gnuplot-nox"));
  EXPECT_FALSE(exists(path("bench.img")));
  EXPECT_FALSE(exists(path("x.svg")));
}

TEST_F(BenchCompletions, ItsSectionOfThePageIsReplacedAndTheRestStays) {
  write_file(path("page.md"), "# Page\n\nby hand\n");
  EXPECT_RAN(run(tiny("null", {"--markdown", path("page.md")})));
  EXPECT_RAN(run(tiny("mem", {"--markdown", path("page.md")})));
  const std::string page = read_file(path("page.md"));
  EXPECT_THAT(page, StartsWith("# Page\n\nby hand\n"));
  EXPECT_THAT(page, HasSubstr("### Completions: the null device, without a volume"));
  EXPECT_THAT(page, HasSubstr("### Completions: a volume on the memory device"));
  EXPECT_THAT(page, HasSubstr("| 8 | issuer | "));
  EXPECT_THAT(page, HasSubstr("Linux "));
  char host[256] = {};
  ASSERT_EQ(gethostname(host, sizeof(host) - 1), 0);
  EXPECT_THAT(page, Not(HasSubstr(std::string(" ") + host)));

  EXPECT_RAN(run(tiny("null", {"--markdown", path("page.md"), "--workers", "2"})));
  const std::string again = read_file(path("page.md"));
  EXPECT_THAT(again, HasSubstr("2 workers"));
  // The memory device's section is as it was, and nothing is there twice.
  const std::string mark = "<!-- begin completions mem";
  EXPECT_EQ(again.substr(again.find(mark)), page.substr(page.find(mark)));
  const std::string heading = "### Completions: the null device";
  EXPECT_EQ(again.find(heading), again.rfind(heading));
}

}  // namespace
}  // namespace tool::testing
