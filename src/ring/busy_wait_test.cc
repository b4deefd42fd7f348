#include "ring/busy_wait.h"

#include <gtest/gtest.h>

namespace handback::testing {
namespace {

constexpr std::int64_t worth_ns = 50'000;

TEST(BusyWait, LooksAtFirstAndAsLongAsWaitsAreShort) {
  BusyWait wait(worth_ns);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(wait.budget_ns(), worth_ns);
    wait.waited(worth_ns);
  }
}

TEST(BusyWait, GivesUpAfterThreeLongWaitsAtTheLatestAndAgreesToOneAmongManyShortOnes) {
  BusyWait wait(worth_ns);
  for (int i = 0; i < 10; ++i)
    wait.waited(1000);
  wait.waited(worth_ns + 1);
  EXPECT_EQ(wait.budget_ns(), worth_ns);
  wait.waited(worth_ns + 1);
  EXPECT_EQ(wait.budget_ns(), worth_ns);
  wait.waited(worth_ns + 1);
  EXPECT_EQ(wait.budget_ns(), 0);
}

TEST(BusyWait, GivesUpAfterOneVeryLongWait) {
  BusyWait wait(worth_ns);
  for (int i = 0; i < 10; ++i)
    wait.waited(1000);
  wait.waited(8 * worth_ns + 1);
  EXPECT_EQ(wait.budget_ns(), 0);
}

TEST(BusyWait, LooksAgainOnceSleepsHaveBecomeShort) {
  BusyWait wait(worth_ns);
  for (int i = 0; i < 100; ++i)
    wait.waited(1'000'000);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(wait.budget_ns(), 0);
    wait.waited(28'000);
  }
  EXPECT_EQ(wait.budget_ns(), worth_ns);
}

TEST(BusyWait, NeverLooksIfNoWaitIsWorthIt) {
  BusyWait wait(0);
  EXPECT_FALSE(wait.enabled());
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(wait.budget_ns(), 0);
    wait.waited(1);
  }
}

}  // namespace
}  // namespace handback::testing
