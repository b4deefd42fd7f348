// `handback bench layers`: what it counts, prints, writes and refuses. Nothing here depends on how
// fast anything was.
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "handback/bench/layers.h"
#include "handback/bench/stepping.h"
#include "tests/program.h"

namespace tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using Json = nlohmann::ordered_json;

// Not inlined, so that it has a name.
[[gnu::noinline]] void spin(unsigned turns) {
  volatile unsigned left = turns;
  while (left != 0) {
    const unsigned now = left;
    left = now - 1;
  }
}

Stepped step_turns(unsigned turns) {
  return step_through(
      Functions(),
      [&](Mark mark) {
        mark();
        spin(turns);
        mark();
      },
      [](const std::string& function) { return function.find("spin(") == std::string::npos; });
}

TEST(Stepping, CountsEachInstructionOfAFunction) {
  const Stepped once = step_turns(1);
  if (!once.unavailable.empty()) GTEST_SKIP() << once.unavailable;
  const std::uint64_t first = once.counts.instructions;
  const std::uint64_t turn = step_turns(2).counts.instructions - first;
  EXPECT_GT(turn, 2U);
  EXPECT_LT(turn, 100U);
  EXPECT_EQ(step_turns(101).counts.instructions, first + 100 * turn);
  EXPECT_EQ(once.counts.system_calls, 0U);
  EXPECT_EQ(once.counts.allocations, 0U);
}

TEST(Stepping, SaysWhichFunctionItWas) {
  const Stepped stepped = step_turns(100);
  if (!stepped.unavailable.empty()) GTEST_SKIP() << stepped.unavailable;
  std::uint64_t in_spin = 0;
  std::uint64_t in_all = 0;
  for (const auto& [function, instructions] : stepped.counts.by_function) {
    in_all += instructions;
    if (function.find("spin(unsigned int)") != std::string::npos) in_spin += instructions;
  }
  EXPECT_GE(in_spin, 200U);
  EXPECT_EQ(in_all, stepped.counts.instructions);
}

TEST(Stepping, CountsSystemCallsAndAllocations) {
  const Stepped stepped = step_through(
      Functions(),
      [](Mark mark) {
        mark();
        for (int i = 0; i < 5; ++i)
          static_cast<void>(getppid());
        for (int i = 0; i < 3; ++i) {
          void* volatile const memory = std::malloc(10);
          std::free(memory);
        }
        mark();
      },
      [](const std::string&) { return true; });
  if (!stepped.unavailable.empty()) GTEST_SKIP() << stepped.unavailable;
  EXPECT_EQ(stepped.counts.system_calls, 5U);
  EXPECT_EQ(stepped.counts.allocations, 3U);
}

TEST(Layers, AFunctionIsOfTheLayerOfItsLongestName) {
  EXPECT_EQ(layer_of("handback::Issuer::submit(handback::Aiocb&)"), Layer::kiocb);
  EXPECT_EQ(layer_of("handback::Issuer::Impl::submit_bios(handback::BlockDevice&, handback::Bio*)"),
            Layer::bio);
  EXPECT_EQ(layer_of("handback::(anonymous namespace)::DeviceFile::write_iter(handback::Kiocb&, "
                     "handback::IovView)"),
            Layer::file);
  EXPECT_EQ(layer_of("handback::DioEngine::start(handback::Dio&)"), Layer::dio);
  EXPECT_EQ(layer_of("handback::DioEngine::settle(handback::Dio&)"), Layer::settle);
  EXPECT_EQ(layer_of("non-virtual thunk to handback::VolumeFile::Impl::end_io(handback::Kiocb&, "
                     "handback::DioEnd const&)"),
            Layer::settle);
  EXPECT_EQ(layer_of("tool::QuietDevice::Queue::poll()"), Layer::bio);
  EXPECT_EQ(layer_of("tool::LayerLoad::run(unsigned long)"), Layer::load);
  // These serve whoever called them.
  EXPECT_EQ(layer_of("handback::check_may(handback::Acts)"), std::nullopt);
  EXPECT_EQ(layer_of("tool::QuietDevice::geometry() const"), std::nullopt);
  EXPECT_EQ(layer_of(""), std::nullopt);
}

TEST(Layers, TheBudgetsOfTheLayersAreThoseOfTheWhole) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < layer_count; ++i)
    sum += info_of(static_cast<Layer>(i)).budget;
  EXPECT_EQ(sum, instructions_budget);
}

class BenchLayers : public ProgramTest {
 protected:
  // As short as it gets.
  static std::vector<std::string> tiny(const std::string& depths,
                                       const std::vector<std::string>& more = {}) {
    std::vector<std::string> line{"bench", "layers",    "--qd", depths,   "--seconds",
                                  "0.002", "--repeats", "1",    "--size", "1M"};
    line.insert(line.end(), more.begin(), more.end());
    return line;
  }
};

TEST_F(BenchLayers, JsonHasEveryPathAtEveryDepthAndTheLayersAddUp) {
  const Ran ran = run(tiny("1,3", {"--json"}));
  EXPECT_RAN(ran);
  const Json json = Json::parse(ran.out);
  EXPECT_EQ(json["bench"], "layers");
  const bool counted = json["no_counts"].is_null();
  std::vector<std::string> rows;
  for (const auto& row : json["rows"]) {
    rows.push_back(row["qd"].dump() + " " + row["path"].get<std::string>());
    SCOPED_TRACE(rows.back());
    EXPECT_GT(row["ns"], 0);
    EXPECT_EQ(row["ns"], row["ns_min"]);
    EXPECT_EQ(row["cycles"].is_null(), !json["no_cycles"].is_null());
    if (!counted) continue;
    double of_layers = 0;
    for (const auto& layer : json["layers"]) {
      if (layer["path"] != row["path"] || layer["qd"] != row["qd"]) continue;
      double of_functions = 0;
      for (const auto& function : layer["functions"])
        of_functions += function.get<double>();
      EXPECT_NEAR(layer["instructions"].get<double>(), of_functions, 0.01) << layer["layer"];
      if (layer["layer"] != "the load") of_layers += layer["instructions"].get<double>();
    }
    EXPECT_GT(of_layers, 0);
    EXPECT_NEAR(row["instructions"].get<double>(), of_layers, 0.01);
    // Once it runs, the data path asks nothing of the kernel or the heap.
    EXPECT_EQ(row["system_calls"], 0);
    EXPECT_EQ(row["allocations"], 0);
  }
  EXPECT_THAT(rows, ElementsAre("1 file write", "1 file read", "1 device write", "1 device read",
                                "1 queue", "3 file write", "3 file read", "3 device write",
                                "3 device read", "3 queue"));
  EXPECT_EQ(json["times"].size(), 8U);
  EXPECT_EQ(json["budget"]["instructions"], 600);
  if (!counted) GTEST_SKIP() << json["no_counts"];
}

TEST_F(BenchLayers, ThePageForPeopleHasTheBudgetBesideTheFigures) {
  const Ran ran = run(tiny("1"));
  EXPECT_RAN(ran);
  for (const char* word : {"file write", "by difference", "at most 100", "system calls"})
    EXPECT_THAT(ran.out, HasSubstr(word));
}

TEST_F(BenchLayers, ItsSectionOfThePageIsReplacedAndTheRestStays) {
  write_file(path("page.md"), "# Page\n\nby hand\n");
  EXPECT_RAN(run(tiny("1", {"--markdown", path("page.md")})));
  EXPECT_RAN(run(tiny("1", {"--markdown", path("page.md")})));
  const std::string page = read_file(path("page.md"));
  EXPECT_THAT(page, StartsWith("# Page\n\nby hand\n"));
  EXPECT_THAT(page, HasSubstr("| file write | 1 | "));
  EXPECT_THAT(page, HasSubstr("Linux "));
  const std::string heading = "### Layers";
  EXPECT_NE(page.find(heading), std::string::npos);
  EXPECT_EQ(page.find(heading), page.rfind(heading));
}

TEST_F(BenchLayers, AWrongCommandLineIsExplained) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> lines{
      {{"--qd", "0"}, "--qd"},           {{"--qd", "1,1025"}, "--qd"},
      {{"--seconds", "0"}, "--seconds"}, {{"--repeats", "0"}, "--repeats"},
      {{"--size", "5000"}, "--size"},    {{"--frobnicate"}, "--frobnicate"}};
  for (const auto& [more, word] : lines) {
    SCOPED_TRACE(::testing::PrintToString(more));
    std::vector<std::string> line{"bench", "layers"};
    line.insert(line.end(), more.begin(), more.end());
    const Ran ran = run(line);
    EXPECT_EQ(ran.exit_code, 2) << ran.out << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(word));
  }
}

}  // namespace
}  // namespace tool::testing
