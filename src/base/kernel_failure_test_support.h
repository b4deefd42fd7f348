// Scenarios that pass, and that hang, abort or lose something with a former behaviour switched on
// (base/old_behaviour.h). One that hangs is ended by a watchdog: an alarm in a process of its own.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "base/old_behaviour.h"

namespace handback::testing {

// For death tests that start threads: the child begins anew instead of forking a process with
// threads.
class ThreadedDeathTest : public ::testing::Test {
 protected:
  ThreadedDeathTest() : style_(GTEST_FLAG_GET(death_test_style)) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
  ~ThreadedDeathTest() override { GTEST_FLAG_SET(death_test_style, style_); }

 private:
  std::string style_;
};

inline constexpr unsigned watchdog_seconds = 2;

// Runs a scenario with a watchdog; only for the child of a death test.
template <typename Scenario>
void run_watched(OldBehaviour with, Scenario scenario) {
  old_behaviour = with;
  std::signal(SIGALRM, SIG_DFL);
  ::alarm(watchdog_seconds);
  ::_exit(scenario() ? 0 : 1);
}

inline const auto passes = ::testing::ExitedWithCode(0);
inline const auto fails = ::testing::ExitedWithCode(1);
inline const auto hangs = ::testing::KilledBySignal(SIGALRM);
inline const auto aborts = ::testing::KilledBySignal(SIGABRT);

}  // namespace handback::testing
