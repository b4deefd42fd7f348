// `handback bench append`: what it prints, writes, refuses and leaves behind. Nothing here depends
// on how fast anything was.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "handback/bench/append_report.h"
#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Json = nlohmann::ordered_json;

class BenchAppend : public ProgramTest {
 protected:
  // As short as it gets.
  std::vector<std::string> tiny(const std::string& volume,
                                const std::vector<std::string>& more = {}) const {
    std::vector<std::string> line{"bench",     "append", "--volume",  volume, "--inflight", "1,3",
                                  "--seconds", "0.02",   "--repeats", "1",    "--size",     "16M"};
    line.insert(line.end(), more.begin(), more.end());
    return line;
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

TEST_F(BenchAppend, JsonHasEveryTargetAtEveryNumberInFlightAndWhatWasMadeIsRemoved) {
  if (!takes_direct_io()) GTEST_SKIP() << "needs O_DIRECT in " << folder();
  const Ran ran = run(tiny(path("bench.img"), {"--against", folder(), "--json"}));
  EXPECT_RAN(ran);
  EXPECT_EQ(names_in_folder(), 0U);
  const Json json = Json::parse(ran.out);
  EXPECT_EQ(json["bench"], "append");
  ASSERT_EQ(json["rows"].size(), 4U);
  const auto other = json["rows"][1]["target"].get<std::string>();
  std::vector<std::string> rows;
  for (const auto& row : json["rows"]) {
    rows.push_back(row["inflight"].dump() + " " + row["target"].get<std::string>());
    EXPECT_GT(row["iops"], 0);
    EXPECT_LE(row["p50_ns"], row["p99_ns"]);
  }
  EXPECT_THAT(rows, ElementsAre("1 handback", "1 " + other, "3 handback", "3 " + other));
  ASSERT_EQ(json["ratios"].size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(json["ratios"][i]["inflight"], i == 0 ? 1 : 3);
    EXPECT_EQ(json["ratios"][i]["over"], other);
    EXPECT_EQ(json["ratios"][i]["ratio"], json["ratios"][i]["pair_min"]);
  }
}

TEST_F(BenchAppend, TheDeviceAloneIsATargetAndItsFileIsRemoved) {
  if (!takes_direct_io()) GTEST_SKIP() << "needs O_DIRECT in " << folder();
  const Ran ran = run(tiny(path("bench.img"), {"--device", path("device.img"), "--json"}));
  EXPECT_RAN(ran);
  EXPECT_EQ(names_in_folder(), 0U);
  const Json json = Json::parse(ran.out);
  std::vector<std::string> rows;
  for (const auto& row : json["rows"]) {
    rows.push_back(row["inflight"].dump() + " " + row["target"].get<std::string>());
    EXPECT_GT(row["iops"], 0);
    EXPECT_THAT(row["place"].get<std::string>(), HasSubstr("host file"));
    EXPECT_NE(row["way"], "");
  }
  EXPECT_THAT(rows, ElementsAre("1 handback", "1 device", "3 handback", "3 device"));
  ASSERT_EQ(json["ratios"].size(), 2U);
  for (const auto& ratio : json["ratios"])
    EXPECT_EQ(ratio["over"], "device");
}

TEST_F(BenchAppend, AFileThatIsThereIsNotWrittenOverAsADevice) {
  write_file(path("photo"), scrambled(20U << 20));
  expect_refused(path("photo"), tiny(path("bench.img"), {"--device", path("photo")}), 1,
                 {"photo", "is there already"});
  EXPECT_EQ(names_in_folder(), 1U);
}

TEST_F(BenchAppend, AVolumeThatIsThereKeepsItsFilesAndGetsNone) {
  const std::string volume = make_volume("vol.img", "64M");
  write_file(path("photo"), scrambled(100000));
  EXPECT_EQ(run({"put", volume, path("photo"), "/photo"}).exit_code, 0);
  EXPECT_RAN(run(tiny(volume)));
  const Ran listed = run({"ls", volume, "/"});
  EXPECT_THAT(listed.out, HasSubstr("photo"));
  EXPECT_THAT(listed.out, ::testing::Not(HasSubstr("handback-bench")));
  const Ran read = run({"cat", volume, "/photo"});
  EXPECT_EQ(read.out, scrambled(100000));
}

TEST_F(BenchAppend, AFileThatIsNoVolumeIsLeftAlone) {
  write_file(path("photo"), scrambled(8U << 20));
  expect_refused(path("photo"), tiny(path("photo")), 3, {"photo"});
}

TEST_F(BenchAppend, AWrongCommandLineIsExplainedBeforeAnythingIsMade) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> lines{
      {{"--inflight", "0"}, "--inflight"}, {{"--inflight", "1,257"}, "--inflight"},
      {{"--seconds", "0"}, "--seconds"},   {{"--repeats", "0"}, "--repeats"},
      {{"--size", "5000"}, "--size"},      {{"--frobnicate"}, "--frobnicate"}};
  for (const auto& [more, word] : lines) {
    SCOPED_TRACE(::testing::PrintToString(more));
    std::vector<std::string> line{"bench", "append", "--volume", path("bench.img")};
    line.insert(line.end(), more.begin(), more.end());
    const Ran ran = run(line);
    EXPECT_EQ(ran.exit_code, 2) << ran.out << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(word));
    EXPECT_FALSE(exists(path("bench.img")));
  }
  EXPECT_EQ(run({"bench", "append"}).exit_code, 2);
}

TEST_F(BenchAppend, DurableOperationsAreCountedForEachKindOfDevice) {
  const Ran ran = run({"bench", "durable-operations", "--json", "--markdown", path("page.md")});
  EXPECT_RAN(ran);
  const Json json = Json::parse(ran.out);
  std::vector<std::string> appends;
  for (const auto& row : json["rows"]) {
    if (row["operation"] != "append 4 KiB") continue;
    appends.push_back(row["device"].get<std::string>() + " " + row["writes"].dump() + " " +
                      row["fua_writes"].dump() + " " + row["flushes"].dump());
  }
  EXPECT_THAT(appends, ElementsAre("write-through 2.0 0.0 0.0", "FUA 2.0 2.0 0.0",
                                   "flush only 2.0 0.0 1.0"));
  EXPECT_THAT(read_file(path("page.md")),
              HasSubstr("| append 4 KiB | 2 writes | 2 FUA writes | 2 writes, 1 flush |"));
}

TEST(AppendRatios, AreOfEachPairAndOnlyOfOursOverTheOthers) {
  const auto runs = [](std::uint64_t first, std::uint64_t second) {
    RunResult a;
    RunResult b;
    a.requests = first;
    b.requests = second;
    a.elapsed_ns = b.elapsed_ns = 1'000'000'000;
    return std::vector<RunResult>{a, b};
  };
  AppendResult result;
  result.rows.push_back({.target = "handback", .inflight = 1, .ours = true, .runs = runs(40, 90)});
  result.rows.push_back({.target = "ext4", .inflight = 1, .ours = false, .runs = runs(10, 30)});
  result.rows.push_back({.target = "ext4", .inflight = 16, .ours = false, .runs = runs(1, 1)});
  const auto ratios = append_ratios(result);
  ASSERT_EQ(ratios.size(), 1U);
  EXPECT_EQ(ratios[0].over, &result.rows[1]);
  EXPECT_EQ(ratios[0].pairs.median, 3.5);
  EXPECT_EQ(ratios[0].pairs.least, 3);
  EXPECT_EQ(ratios[0].pairs.most, 4);
}

}  // namespace
}  // namespace tool::testing
