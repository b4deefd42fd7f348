// The shared inbox and the wake-up in every schedule.
#include <gtest/gtest.h>

#include <array>

#include "base/schedule_test_support.h"
#include "issuer/inbox.h"
#include "issuer/wake.h"

namespace handback::testing {
namespace {

struct Node {
  unsigned pusher = 0;
  unsigned number = 0;
  Plain<Node*> next;
  Plain<unsigned> content;
};

// --- the inbox: two push, and owner and adopter take ---

template <unsigned pushes, unsigned takes, Faults faults = Faults{}>
struct TwoTakers {
  static constexpr std::array threads{"pusher a", "pusher b", "owner", "adopter"};
  SharedInbox<Node, ExploredConcurrency<faults>> inbox;
  std::array<std::array<Node, pushes>, 2> nodes;
  std::array<std::array<unsigned, pushes>, 2> taken{};

  TwoTakers() {
    name(inbox, "inbox");
    name(nodes, "nodes");
  }

  void run(unsigned thread) {
    if (thread < 2) {
      for (unsigned i = 0; i < pushes; ++i) {
        Node& node = nodes[thread][i];
        node.pusher = thread;
        node.number = i;
        node.content = 1;
        inbox.push(node);
      }
      return;
    }
    std::array<unsigned, 2> next{};
    for (unsigned i = 0; i < takes; ++i)
      take(next);
  }

  void take(std::array<unsigned, 2>& next) {
    LocalQueue<Node> batch = inbox.take();
    while (!batch.empty()) {
      Node& node = batch.pop();
      node.content = node.content + 1;
      check(++taken[node.pusher][node.number] == 1, "each node is taken once");
      check(node.number >= next[node.pusher], "who takes sees each pusher's order");
      next[node.pusher] = node.number + 1;
    }
  }

  void at_end() {
    std::array<unsigned, 2> next{};
    take(next);
    for (const auto& of_pusher : taken) {
      for (const unsigned times : of_pusher)
        check(times == 1, "no node is lost");
    }
  }
};

TEST(SharedInboxSchedules, GiveEachNodeOnceAndInOrder) {
  expect_holds(explore_all<TwoTakers<1, 1>>(any_preemptions));
  expect_holds(explore_all<TwoTakers<2, 2>>(2));
  expect_holds(explore_random<TwoTakers<3, 3>>(20'000));
}

TEST(SharedInboxSchedules, ShowATakeByLoadAndStore) {
  expect_finds(explore_all<TwoTakers<1, 1, Faults{.exchange_in_two_steps = true}>>(2),
               "data race on nodes");
  expect_finds(explore_first_seeds<TwoTakers<3, 3, Faults{.exchange_in_two_steps = true}>>(20'000),
               "data race on nodes");
}

TEST(SharedInboxSchedules, ShowAPushWithoutRelease) {
  expect_finds(explore_all<TwoTakers<1, 1, Faults{.exchanges_relaxed = true}>>(1),
               "data race on nodes");
}

// --- the wake-up: who pushes wakes, and the owner sleeps as Issuer::Impl::sleep does ---

enum class Look { after_announcing, never };

template <unsigned pushers, unsigned pushes, Faults faults, Look look>
struct Sleeper {
  using Explored = ExploredConcurrency<faults>;
  struct Wake : WakeProtocol<ExploredEvent, Explored> {
    using WakeProtocol<ExploredEvent, Explored>::event;
  };

  SharedInbox<Node, Explored> inbox;
  Wake wake;
  std::array<std::array<Node, pushes>, pushers> nodes;
  unsigned taken = 0;
  unsigned sleeps = 0;

  Sleeper() {
    name(inbox, "inbox");
    name(wake.event(), "eventfd");
    name(wake, "flag");
    name(nodes, "nodes");
  }

  void run(unsigned thread) {
    if (thread == 0) {
      own();
      return;
    }
    for (Node& node : nodes[thread - 1]) {
      inbox.push(node);
      wake.wake();
    }
  }

  void own() {
    for (;;) {
      LocalQueue<Node> batch = inbox.take();
      while (!batch.empty()) {
        batch.pop();
        ++taken;
      }
      if (taken == pushers * pushes) return;
      ++sleeps;
      wake.announce_sleep();
      if (look == Look::never || inbox.empty()) {
        sleep_until("asleep", &wake.event(), [this] { return wake.event().readable(); });
      }
      wake.end_sleep();
    }
  }

  void at_each_step() { check(wake.event().writes() <= sleeps, "one write per sleep at most"); }

  void at_end() {
    // Whatever is owed arrives by the next sleep, and then no sleep is cut short any more.
    wake.announce_sleep();
    wake.end_sleep();
    check(!wake.event().readable(), "no write stays unread");
  }
};

template <unsigned pushes, Faults faults = Faults{}, Look look = Look::after_announcing>
struct OnePusher : Sleeper<1, pushes, faults, look> {
  static constexpr std::array threads{"owner", "pusher"};
};

template <unsigned pushes, Faults faults = Faults{}, Look look = Look::after_announcing>
struct TwoPushers : Sleeper<2, pushes, faults, look> {
  static constexpr std::array threads{"owner", "pusher a", "pusher b"};
};

TEST(WakeSchedules, LoseNoWakeUpAndWriteOncePerSleep) {
  expect_holds(explore_all<OnePusher<1>>(any_preemptions));
  expect_holds(explore_all<OnePusher<2>>(any_preemptions));
  expect_holds(explore_all<TwoPushers<1>>(3));
  expect_holds(explore_random<TwoPushers<3>>(20'000));
}

TEST(WakeSchedules, ShowAFlagThatWaitsInTheStoreBuffer) {
  expect_finds(explore_all<OnePusher<1, Faults{.stores_relaxed = true}>>(any_preemptions),
               "owner: asleep at eventfd");
  expect_finds(explore_first_seeds<TwoPushers<3, Faults{.stores_relaxed = true}>>(20'000),
               "owner: asleep at eventfd");
}

TEST(WakeSchedules, ShowASleepWithoutALookAfterAnnouncing) {
  expect_finds(explore_all<OnePusher<1, Faults{}, Look::never>>(1), "owner: asleep at eventfd");
}

TEST(WakeSchedules, ShowTwoWakersThatBothWrite) {
  expect_finds(explore_all<TwoPushers<1, Faults{.exchange_in_two_steps = true}>>(3), "broken: ");
}

}  // namespace
}  // namespace handback::testing
