// Explores a scenario and reports, for tests beside the code.
//
// A scenario is a class, made anew for every schedule, with
//   static constexpr std::array threads{"pusher", "owner"};   its logical threads
//   void run(unsigned thread);                                what each of them does; up to its
//                                                             first step they run in this order
//   void at_each_step();   optional: looks at the state between any two steps
//   void at_end();         optional: looks at it when all threads have ended
// and calls check(), and uses the code under test with ExploredConcurrency. What lives on the stack
// of run() must own no memory.
//
// HB_SCHEDULES=N sets how many random schedules are tried, HB_SEED=N where they begin: what a
// failure prints replays it alone.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <limits>
#include <optional>
#include <string>

#include "base/base_test_support.h"
#include "base/explored_concurrency.h"

namespace handback::testing {

// ThreadSanitizer makes a step twenty times as long: there the tests are a sample, which shows that
// they run.
#if defined(__SANITIZE_THREAD__)
inline constexpr std::uint64_t exhaustive_schedules_max = 4'000;
inline constexpr std::uint64_t random_schedules_divisor = 10;
#else
inline constexpr std::uint64_t exhaustive_schedules_max = std::numeric_limits<std::uint64_t>::max();
inline constexpr std::uint64_t random_schedules_divisor = 1;
#endif

inline constexpr unsigned any_preemptions = std::numeric_limits<unsigned>::max();

struct Exploration {
  std::uint64_t schedules = 0;
  std::uint64_t steps = 0;
  bool complete = false;  // Nothing is left to try.
  std::string failure;    // Empty: none.
  std::string schedule;   // Of the failure.
};

template <typename Scenario>
Exploration explore(ScheduleSearch& search, std::uint64_t schedules_max) {
  ScheduleExplorer explorer({Scenario::threads.begin(), Scenario::threads.end()});
  Exploration result;
  while (result.schedules < schedules_max) {
    if (!search.next()) {
      result.complete = true;
      break;
    }
    explorer.prepare();
    std::optional<Scenario> scenario(std::in_place);
    ScheduleBody body;
    body.scenario = &*scenario;
    body.run = [](void* state, unsigned thread) { static_cast<Scenario*>(state)->run(thread); };
    if constexpr (requires { scenario->at_each_step(); }) {
      body.at_each_step = [](void* state) { static_cast<Scenario*>(state)->at_each_step(); };
    }
    explorer.run(body, search);
    if constexpr (requires { scenario->at_end(); }) {
      if (explorer.failure().empty()) scenario->at_end();
    }
    ++result.schedules;
    result.steps += explorer.steps();
    if (!explorer.failure().empty()) {
      result.failure = explorer.failure();
      result.schedule = explorer.describe_schedule();
      break;
    }
  }
  return result;
}

inline void report(const Exploration& result, const std::string& how, std::clock_t began) {
  const double seconds =
      static_cast<double>(std::max<std::clock_t>(1, std::clock() - began)) / CLOCKS_PER_SEC;
  std::cout << fmt::format("{} schedules ({}), {:.1f} steps each, {:.0f} a second of CPU\n",
                           result.schedules, how,
                           static_cast<double>(result.steps) /
                               static_cast<double>(std::max<std::uint64_t>(1, result.schedules)),
                           static_cast<double>(result.schedules) / seconds);
  ::testing::Test::RecordProperty("schedules", std::to_string(result.schedules));
}

// Every schedule with at most so many preemptions.
template <typename Scenario>
Exploration explore_all(unsigned preemptions_max) {
  const std::clock_t began = std::clock();
  DepthFirstSearch search(preemptions_max);
  Exploration result = explore<Scenario>(search, exhaustive_schedules_max);
  std::string how = preemptions_max == any_preemptions
                        ? "all there are"
                        : fmt::format("all with at most {} preemptions", preemptions_max);
  if (!result.complete && result.failure.empty()) how = "the first of " + how;
  report(result, how, began);
  return result;
}

template <typename Scenario>
Exploration explore_seeds(std::uint64_t first, std::uint64_t schedules) {
  const std::clock_t began = std::clock();
  RandomSearch search(first, schedules);
  Exploration result = explore<Scenario>(search, std::numeric_limits<std::uint64_t>::max());
  if (!result.failure.empty()) {
    result.failure += fmt::format("\nreplay with HB_SEED={} HB_SCHEDULES=1", search.seed());
  }
  report(result, "random", began);
  return result;
}

// Random schedules; the environment decides from where, and how many.
template <typename Scenario>
Exploration explore_random(std::uint64_t schedules) {
  return explore_seeds<Scenario>(
      number_from_environment("HB_SEED", 1),
      number_from_environment("HB_SCHEDULES", schedules / random_schedules_divisor));
}

// The same ones always: for planted bugs, which these are known to find.
template <typename Scenario>
Exploration explore_first_seeds(std::uint64_t schedules) {
  return explore_seeds<Scenario>(1, schedules);
}

inline void expect_holds(const Exploration& result) {
  EXPECT_EQ(result.failure, "") << "after " << result.schedules << " schedules; this one:\n"
                                << result.schedule;
}

// For a planted bug: the search finds it, and says so.
inline void expect_finds(const Exploration& result, const std::string& text) {
  EXPECT_NE(result.failure.find(text), std::string::npos)
      << (result.failure.empty() ? "nothing was found" : result.failure);
}

}  // namespace handback::testing
