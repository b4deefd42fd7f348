// Goal: whatever a power cut leaves of a short sequence of operations is a state that was promised.
// HB_CRASH_STATES sets how many states are verified; handback-sim does the same for longer.
#include <gtest/gtest.h>
#include <handback/simulation.h>

#include <algorithm>

#include "base/base_test_support.h"

namespace handback::sim {
namespace {

std::string text_of(const std::vector<Violation>& violations) {
  std::string text;
  for (const Violation& violation : violations)
    text += violation.where + "\n" + violation.problem + "\n";
  return text;
}

TEST(CrashExplorer, FindsOnlyPromisedStates) {
  CrashOptions options;
  options.states_max = testing::number_from_environment("HB_CRASH_STATES", 20'000);
  options.nested_one_in = 2;
  options.triples_one_in = 2000;
  // A few sequences from everywhere rather than all of the first.
  options.shares = 199;
  options.share = testing::number_from_environment("HB_SEED", 0) % options.shares;
  const CrashReport report = explore_crashes(options);
  EXPECT_EQ(text_of(report.violations), "");
  EXPECT_GE(report.states, std::min<std::uint64_t>(options.states_max, 10'000));
  EXPECT_EQ(report.distinct, report.states);
  EXPECT_GT(report.used, 0U);
  if (options.states_max < 20'000) return;
  EXPECT_GT(report.sequences, 50U);
  EXPECT_EQ(report.deepest, 3U);
}

TEST(CrashExplorer, RunsTheSameTwice) {
  CrashOptions options;
  options.shares = 1999;
  const CrashReport first = explore_crashes(options);
  const CrashReport second = explore_crashes(options);
  EXPECT_EQ(first.states, second.states);
  EXPECT_EQ(first.tried, second.tried);
  EXPECT_EQ(first.distinct, second.distinct);
}

}  // namespace
}  // namespace handback::sim
