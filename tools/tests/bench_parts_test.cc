// The parts of the benchmarks whose results are exact.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <thread>

#include "common/failure.h"
#include "handback/bench/completions.h"
#include "handback/bench/markdown_section.h"
#include "handback/bench/measured_window.h"
#include "handback/bench/statistics.h"

namespace tool::testing {
namespace {

TEST(Statistics, TheMedianIsTheMiddleOrBetweenTheTwoInTheMiddle) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({9, 1, 5, 2}), 3.5);
}

TEST(Statistics, RatiosAreOfPairsAndNotOfMedians) {
  // The machine got twice as fast after each repeat; the ratio did not change.
  const PairRatios steady = pair_ratios({15, 30, 60}, {10, 20, 40});
  EXPECT_EQ(steady.median, 1.5);
  EXPECT_EQ(steady.least, 1.5);
  EXPECT_EQ(steady.most, 1.5);
  const PairRatios spread = pair_ratios({10, 20, 90}, {10, 10, 10});
  EXPECT_EQ(spread.median, 2);
  EXPECT_EQ(spread.least, 1);
  EXPECT_EQ(spread.most, 9);
}

TEST(MeasuredWindow, OpensAndClosesWithEndsOfRequests) {
  MeasuredWindow window(1000, 100);
  window.add_end(0, 999);     // Warm-up.
  window.add_end(900, 1010);  // Opens, and does not count.
  window.add_end(1000, 1050);
  EXPECT_FALSE(window.closed());
  window.add_end(1050, 1110);  // Closes, and counts.
  EXPECT_TRUE(window.closed());
  window.add_end(1060, 1120);
  const RunResult result = window.result();
  EXPECT_EQ(result.requests, 2U);
  EXPECT_EQ(result.elapsed_ns, 100U);
  EXPECT_EQ(result.p50_ns, 60U);
  EXPECT_EQ(result.iops(), 2e7);
}

TEST(MeasuredWindow, ALoadThatEndsEarlyCountsForTheTimeThatItTook) {
  MeasuredWindow window(1000, 1'000'000);
  EXPECT_FALSE(window.close(900));  // Nothing has counted.
  window.add_end(900, 1010);
  EXPECT_FALSE(window.close(1010));
  window.add_end(1000, 1050);
  window.add_end(1050, 1060);
  EXPECT_TRUE(window.close(1060));
  EXPECT_TRUE(window.closed());
  EXPECT_TRUE(window.close(2000));
  EXPECT_EQ(window.result().requests, 2U);
  EXPECT_EQ(window.result().elapsed_ns, 50U);
}

TEST(MeasuredWindow, OneRequestCountsHoweverLongTheMachineStoodStill) {
  MeasuredWindow window(1000, 100);
  window.add_end(0, 1'000'000);
  EXPECT_FALSE(window.closed());
  window.add_end(0, 1'000'500);
  EXPECT_TRUE(window.closed());
  EXPECT_EQ(window.result().requests, 1U);
  EXPECT_EQ(window.result().elapsed_ns, 500U);
}

TEST(ProcessCost, CountsTheCpuOfOtherThreads) {
  const auto cpu_ns = [] {
    timespec used{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(used.tv_nsec);
  };
  const ProcessCost before = ProcessCost::now();
  std::uint64_t burnt_ns = 0;
  std::thread([&] {
    while (cpu_ns() < 2'000'000) {
    }
    burnt_ns = cpu_ns();
  }).join();
  const ProcessCost after = ProcessCost::now();
  EXPECT_GE(after.cpu_ns - before.cpu_ns, burnt_ns);
  EXPECT_GT(after.ctx_switches, before.ctx_switches);  // join() slept, or was preempted.
}

TEST(CompletionRoutes, OneRequestInAHundredMayStrayAndNoMore) {
  handback::IssuerStats stats;
  stats.delivered = 200;
  stats.by_route[static_cast<std::size_t>(handback::Route::worker)] = 198;
  stats.by_route[static_cast<std::size_t>(handback::Route::submit)] = 2;
  require_route(stats, handback::Route::worker);
  EXPECT_THROW(require_route(stats, handback::Route::issuer), Failure);
  stats.by_route[static_cast<std::size_t>(handback::Route::worker)] = 197;
  stats.by_route[static_cast<std::size_t>(handback::Route::submit)] = 3;
  try {
    require_route(stats, handback::Route::worker);
    FAIL() << "accepted 3 of 200";
  } catch (const Failure& failure) {
    EXPECT_STREQ(failure.what(),
                 "bench: only 197 of 200 requests took the route 'worker' (3 ended within their "
                 "submission), so there is nothing to compare");
  }
}

TEST(MarkdownSection, IsAddedOnceAndThenReplaced) {
  const std::string once = with_section("# Page\n", "a", "first\n");
  EXPECT_EQ(once, "# Page\n\n<!-- begin a: written by handback bench -->\nfirst\n<!-- end a -->\n");
  const std::string both = with_section(once, "b", "other\n") + "by hand\n";
  const std::string changed = with_section(both, "a", "second\n");
  EXPECT_EQ(changed,
            "# Page\n\n<!-- begin a: written by handback bench -->\nsecond\n<!-- end a -->\n\n"
            "<!-- begin b: written by handback bench -->\nother\n<!-- end b -->\nby hand\n");
}

TEST(MarkdownSection, ThatDoesNotEndIsLeftAlone) {
  EXPECT_THROW(static_cast<void>(with_section(
                   "<!-- begin a: written by handback bench -->\nby hand\n", "a", "x\n")),
               Failure);
}

}  // namespace
}  // namespace tool::testing
