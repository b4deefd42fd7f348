// The leaf lock in every schedule: one holder at a time, and nobody sleeps for ever.
#include <gtest/gtest.h>

#include <array>

#include "base/leaf_lock.h"
#include "base/schedule_test_support.h"

namespace handback::testing {
namespace {

template <unsigned rounds, Faults faults>
struct Contention {
  BasicLeafLock<ExploredConcurrency<faults>> lock;
  Plain<unsigned> counter;

  Contention() {
    name(lock, "lock");
    name(counter, "counter");
  }
  void run(unsigned) {
    for (unsigned i = 0; i < rounds; ++i) {
      lock.lock();
      ++counter;
      lock.unlock();
    }
  }
  void count(unsigned threads) {
    check(counter.peek() == threads * rounds, "one holder at a time");
  }
};

template <unsigned rounds, Faults faults = Faults{}>
struct OfTwo : Contention<rounds, faults> {
  static constexpr std::array threads{"a", "b"};
  void at_end() { this->count(2); }
};

template <unsigned rounds, Faults faults = Faults{}>
struct OfThree : Contention<rounds, faults> {
  static constexpr std::array threads{"a", "b", "c"};
  void at_end() { this->count(3); }
};

TEST(LeafLockSchedules, HasOneHolderAndWakesEveryone) {
  expect_holds(explore_all<OfTwo<1>>(any_preemptions));
  expect_holds(explore_all<OfTwo<2>>(3));
  expect_holds(explore_all<OfThree<1>>(3));
  expect_holds(explore_random<OfThree<3>>(10'000));
}

TEST(LeafLockSchedules, ShowAnUnlockThatWakesNobody) {
  expect_finds(explore_all<OfTwo<1, Faults{.notifies_nobody = true}>>(2), "asleep at lock");
  expect_finds(explore_first_seeds<OfThree<3, Faults{.notifies_nobody = true}>>(10'000),
               "asleep at lock");
}

TEST(LeafLockSchedules, ShowALockWithoutAcquireOrRelease) {
  expect_finds(explore_all<OfTwo<1, Faults{.exchanges_relaxed = true}>>(0), "data race on counter");
}

TEST(LeafLockSchedules, ShowAnUnlockThatMissesWhoCameInBetween) {
  expect_finds(explore_all<OfTwo<1, Faults{.exchange_in_two_steps = true}>>(any_preemptions),
               "asleep at lock");
}

}  // namespace
}  // namespace handback::testing
