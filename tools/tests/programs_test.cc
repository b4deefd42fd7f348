// The demo and the benchmark as programs: what they print, return and leave behind.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::HasSubstr;

class DemoProgram : public ProgramTest {
 protected:
  DemoProgram() {
    for (int i = 0; i < 50; ++i) {
      write_file(path("tree/f" + std::to_string(i)), scrambled(9000, static_cast<unsigned>(i)));
    }
    std::filesystem::create_directory(path("work"));
  }
  [[nodiscard]] bool left_nothing() const { return std::filesystem::is_empty(path("work")); }
};

TEST_F(DemoProgram, DiesRecoversAndFindsEveryByteRight) {
  const Ran ran = run_program(HB_DEMO, {path("tree"), "--size", "48M", "--seed", "7", "--dir",
                                        path("work"), "--json", path("result.json")});
  EXPECT_RAN(ran);
  EXPECT_THAT(ran.out, HasSubstr("Seed 7"));
  EXPECT_THAT(ran.out, HasSubstr("SIGKILL after"));
  const auto json = nlohmann::json::parse(read_file(path("result.json")));
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["files"], 51);
  EXPECT_EQ(json["bytes"], (48U << 20) + 50 * 9000);
  EXPECT_EQ(json["mismatches"], 0);
  EXPECT_EQ(json["check_findings"], 0);
  EXPECT_GE(json["killed"]["at_bytes"], json["killed"]["aimed_at_bytes"]);
  EXPECT_LT(json["killed"]["at_bytes"], json["killed"]["of_bytes"]);
  EXPECT_TRUE(left_nothing());
}

TEST_F(DemoProgram, SaysWhenTheDiskIsTooSmallBeforeWritingAnything) {
  const Ran ran = run_program(HB_DEMO, {path("tree"), "--size", "900T", "--dir", path("work")});
  EXPECT_EQ(ran.exit_code, 5);
  EXPECT_THAT(ran.err, HasSubstr("free, and the demo needs"));
  EXPECT_TRUE(left_nothing());
}

TEST_F(DemoProgram, SaysWhenItsArgumentsAreWrong) {
  EXPECT_EQ(run_program(HB_DEMO, {path("missing"), "--dir", path("work")}).exit_code, 1);
  EXPECT_EQ(run_program(HB_DEMO, {path("tree"), "--dir", path("missing")}).exit_code, 1);
  EXPECT_EQ(run_program(HB_DEMO, {"--size", "much"}).exit_code, 2);
  EXPECT_TRUE(left_nothing());
}

TEST_F(DemoProgram, LeavesNothingBehindWhenItIsStopped) {
  for (const useconds_t after_us : {20'000, 100'000, 300'000}) {
    RunOptions options;
    options.meanwhile = [after_us](pid_t pid) {
      usleep(after_us);
      kill(pid, SIGTERM);
    };
    const Ran ran =
        run_program(HB_DEMO, {path("tree"), "--size", "512M", "--dir", path("work")}, options);
    EXPECT_EQ(ran.exit_code, 143) << ran.err;
    EXPECT_TRUE(left_nothing()) << after_us;
  }
}

TEST_F(DemoProgram, WorksWithoutRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "the other tests of this suite have shown it";
  chmod(path("work").c_str(), 0777);
  const Ran ran = run_program(HB_DEMO, {path("tree"), "--size", "24M", "--dir", path("work")},
                              {.as_nobody = true});
  if (ran.exit_code == 127) GTEST_SKIP() << "the program lies where nobody may not run it";
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_TRUE(left_nothing());
}

class Benchmark : public ProgramTest {
 protected:
  static Ran overwrite(const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"bench", "overwrite", "--seconds", "0.05", "--repeats",
                                       "2",     "--size",    "4M",        "--qd", "1,4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
};

TEST_F(Benchmark, GivesRowsAndRatiosForEachDepth) {
  const Ran ran = overwrite({"--dir", folder(), "--json"});
  EXPECT_RAN(ran);
  const auto json = nlohmann::json::parse(ran.out);
  EXPECT_EQ(json["bench"], "overwrite");
  ASSERT_EQ(json["rows"].size(), 4);
  for (const auto& row : json["rows"]) {
    EXPECT_GT(row["iops"], 0);
    EXPECT_GT(row["p50_ns"], 0);
    EXPECT_GE(row["p99_ns"], row["p50_ns"]);
  }
  ASSERT_EQ(json["ratios"].size(), 2);
  EXPECT_EQ(json["ratios"][1]["qd"], 4);
  EXPECT_GT(json["ratios"][1]["handback_over_plain"], 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder()));
}

TEST_F(Benchmark, RefusesFilesThatItDidNotMake) {
  write_file(path("mine"), "precious");
  EXPECT_EQ(overwrite({"--volume", path("mine")}).exit_code, 1);
  EXPECT_EQ(read_file(path("mine")), "precious");
  std::filesystem::rename(path("mine"), path("bench.img.plain"));
  EXPECT_EQ(overwrite({"--volume", path("bench.img")}).exit_code, 1);
  EXPECT_EQ(read_file(path("bench.img.plain")), "precious");
  EXPECT_FALSE(exists(path("bench.img")));
}

}  // namespace
}  // namespace tool::testing
