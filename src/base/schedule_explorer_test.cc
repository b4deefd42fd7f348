// The explorer itself: it sees every schedule, and the memory model lets through what it should.
#include "base/schedule_explorer.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>

#include "base/schedule_test_support.h"

namespace handback::testing {
namespace {

using Number = ExploredAtomic<unsigned>;

// --- schedules ---

std::set<std::string> orders_seen;

struct TwoThreadsOfTwoSteps {
  static constexpr std::array threads{"a", "b"};
  Number number;
  std::string order;

  void run(unsigned thread) {
    for (int i = 0; i < 2; ++i) {
      number.fetch_add(1);
      order += threads[thread];
    }
  }
  void at_end() { orders_seen.insert(order); }
};

TEST(ScheduleExplorer, RunsEveryOrderOfTheSteps) {
  orders_seen.clear();
  const Exploration result = explore_all<TwoThreadsOfTwoSteps>(any_preemptions);
  expect_holds(result);
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.schedules, 6U);
  EXPECT_EQ(orders_seen, (std::set<std::string>{"aabb", "abab", "abba", "baab", "baba", "bbaa"}));
}

TEST(ScheduleExplorer, RunsOnlyWhatFewPreemptionsAllow) {
  orders_seen.clear();
  expect_holds(explore_all<TwoThreadsOfTwoSteps>(0));
  EXPECT_EQ(orders_seen, (std::set<std::string>{"aabb", "bbaa"}));
  orders_seen.clear();
  expect_holds(explore_all<TwoThreadsOfTwoSteps>(1));
  EXPECT_EQ(orders_seen, (std::set<std::string>{"aabb", "abba", "baab", "bbaa"}));
}

TEST(ScheduleExplorer, FindsEveryOrderAtRandomToo) {
  orders_seen.clear();
  expect_holds(explore_random<TwoThreadsOfTwoSteps>(1000));
  EXPECT_EQ(orders_seen.size(), 6U);
}

struct LostIncrement {
  static constexpr std::array threads{"a", "b", "c"};
  Number number;

  LostIncrement() { name(number, "number"); }
  void run(unsigned) { number.store(number.load() + 1); }
  void at_end() { check(number.load() == 3, "each increment counts"); }
};

TEST(ScheduleExplorer, PrintsTheScheduleOfAFailure) {
  const Exploration result = explore_all<LostIncrement>(1);
  expect_finds(result, "broken: each increment counts");
  EXPECT_NE(result.schedule.find("load               number = 0"), std::string::npos)
      << result.schedule;
}

TEST(ScheduleExplorer, ReplaysASeed) {
  Exploration first;
  std::uint64_t seed = 0;
  {
    RandomSearch search(7, 1000);
    first = explore<LostIncrement>(search, 1000);
    seed = search.seed();
  }
  expect_finds(first, "each increment counts");
  RandomSearch search(seed, 1);
  const Exploration again = explore<LostIncrement>(search, 1);
  EXPECT_EQ(again.failure, first.failure);
  EXPECT_EQ(again.schedule, first.schedule);
}

struct WaitsForNothing {
  static constexpr std::array threads{"a", "b"};
  Number number;

  WaitsForNothing() { name(number, "number"); }
  void run(unsigned thread) {
    if (thread == 0) number.wait(0);
  }
};

TEST(ScheduleExplorer, SaysWhatEachThreadWaitsForInADeadlock) {
  const Exploration result = explore_all<WaitsForNothing>(any_preemptions);
  EXPECT_EQ(result.failure, "deadlock: no thread can run\n  a: asleep at number\n  b: ended");
}

struct NeverEnds {
  static constexpr std::array threads{"a"};
  Number number;

  void run(unsigned) {
    while (number.load() == 0) {
    }
  }
};

TEST(ScheduleExplorer, GivesUpOnAScheduleWithoutEnd) {
  expect_finds(explore_all<NeverEnds>(0), "the schedule does not end");
}

// Between the look at the value and the sleep nobody may come.
struct SleepsAndIsWoken {
  static constexpr std::array threads{"sleeper", "waker"};
  Number number;

  void run(unsigned thread) {
    if (thread == 0) {
      number.wait(0);
    } else {
      number.store(1);
      number.notify_one();
    }
  }
};

TEST(ScheduleExplorer, WakesWhoWaitsForAValue) {
  expect_holds(explore_all<SleepsAndIsWoken>(any_preemptions));
}

struct OneOfTwoIsWoken {
  static constexpr std::array threads{"first", "second", "waker"};
  Number number;
  std::array<bool, 2> woken{};

  void run(unsigned thread) {
    if (thread == 2) {
      number.store(1);
      number.notify_one();
      return;
    }
    number.wait(0);
    woken[thread] = true;
  }
};

TEST(ScheduleExplorer, WakesOnlyOneOfTwoSleepers) {
  expect_finds(explore_all<OneOfTwoIsWoken>(any_preemptions), "deadlock");
}

// --- memory ---

std::set<std::string> results_seen;

// The classic: each stores, then looks at the other's.
template <std::memory_order store_order>
struct StoreBuffering {
  static constexpr std::array threads{"a", "b"};
  std::array<Number, 2> at;
  std::array<unsigned, 2> saw{};

  void run(unsigned thread) {
    at[thread].store(1, store_order);
    saw[thread] = at[1 - thread].load();
  }
  void at_end() { results_seen.insert(fmt::format("{}{}", saw[0], saw[1])); }
};

TEST(ScheduleExplorer, LetsAStoreWaitBehindALaterLoad) {
  results_seen.clear();
  expect_holds(explore_all<StoreBuffering<std::memory_order_release>>(any_preemptions));
  EXPECT_EQ(results_seen, (std::set<std::string>{"00", "01", "10", "11"}));
}

TEST(ScheduleExplorer, LetsNoSequentiallyConsistentStoreWait) {
  results_seen.clear();
  expect_holds(explore_all<StoreBuffering<std::memory_order_seq_cst>>(any_preemptions));
  EXPECT_EQ(results_seen, (std::set<std::string>{"01", "10", "11"}));
}

// First the data, then the flag; both atomic.
template <std::memory_order flag_order>
struct MessagePassing {
  static constexpr std::array threads{"writer", "reader"};
  Number data;
  Number flag;
  std::string saw;

  void run(unsigned thread) {
    if (thread == 0) {
      data.store(1, std::memory_order_relaxed);
      flag.store(1, flag_order);
      return;
    }
    const unsigned flag_seen = flag.load();
    saw = fmt::format("{}{}", flag_seen, data.load());
  }
  void at_end() { results_seen.insert(saw); }
};

TEST(ScheduleExplorer, LetsRelaxedStoresPassEachOther) {
  results_seen.clear();
  expect_holds(explore_all<MessagePassing<std::memory_order_relaxed>>(any_preemptions));
  EXPECT_EQ(results_seen, (std::set<std::string>{"00", "01", "10", "11"}));
}

TEST(ScheduleExplorer, LetsNothingPassAReleaseStore) {
  results_seen.clear();
  expect_holds(explore_all<MessagePassing<std::memory_order_release>>(any_preemptions));
  EXPECT_EQ(results_seen, (std::set<std::string>{"00", "01", "11"}));
}

struct SeesItsOwnStore {
  static constexpr std::array threads{"a", "b"};
  Number number;

  void run(unsigned thread) {
    if (thread == 1) return;
    number.store(1, std::memory_order_relaxed);
    number.store(2, std::memory_order_relaxed);
    check(number.load() == 2, "a thread sees its own stores");
    check(number.fetch_add(1, std::memory_order_relaxed) == 2, "and adds to the newest");
  }
  void at_end() { check(number.load() == 3, "every store becomes visible"); }
};

TEST(ScheduleExplorer, ShowsAThreadItsOwnStores) {
  expect_holds(explore_all<SeesItsOwnStore>(any_preemptions));
}

// A plain variable published through a flag.
template <std::memory_order store_order, std::memory_order load_order>
struct Publication {
  static constexpr std::array threads{"writer", "reader"};
  Plain<unsigned> data;
  Number flag;

  Publication() { name(data, "data"); }
  void run(unsigned thread) {
    if (thread == 0) {
      data = 1;
      flag.store(1, store_order);
    } else if (flag.load(load_order) == 1) {
      check(data == 1, "what was published is seen");
    }
  }
};

TEST(ScheduleExplorer, FindsARaceWhereReleaseOrAcquireIsMissing) {
  const auto relaxed = std::memory_order_relaxed;
  const auto release = std::memory_order_release;
  const auto acquire = std::memory_order_acquire;
  expect_holds(explore_all<Publication<release, acquire>>(any_preemptions));
  expect_finds(explore_all<Publication<relaxed, acquire>>(any_preemptions), "data race on data");
  expect_finds(explore_all<Publication<release, relaxed>>(any_preemptions), "data race on data");
}

// An increment in between, by a third thread and relaxed, does not hide what was released.
struct ReleaseSequence {
  static constexpr std::array threads{"writer", "counter", "reader"};
  Plain<unsigned> data;
  Number flag;

  void run(unsigned thread) {
    if (thread == 0) {
      data = 1;
      flag.store(1, std::memory_order_release);
    } else if (thread == 1) {
      flag.fetch_add(1, std::memory_order_relaxed);
    } else if (flag.load(std::memory_order_acquire) == 2) {
      check(data == 1, "what was released is seen through the increment");
    }
  }
};

TEST(ScheduleExplorer, KeepsAReleaseThroughARelaxedIncrement) {
  expect_holds(explore_all<ReleaseSequence>(any_preemptions));
}

struct UsedAfterItsEnd {
  static constexpr std::array threads{"user", "owner"};
  std::optional<Number> number{0U};

  void run(unsigned thread) {
    if (thread == 0) {
      number->fetch_add(1);
    } else {
      number->fetch_add(1);
      number.reset();
    }
  }
};

TEST(ScheduleExplorer, FindsAnAtomicVariableUsedAfterItsEnd) {
  expect_finds(explore_all<UsedAfterItsEnd>(any_preemptions), "by user after its end");
}

}  // namespace
}  // namespace handback::testing
