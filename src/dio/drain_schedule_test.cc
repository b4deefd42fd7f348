// Drain, hand-back and adoption together, in every schedule: two issuers whose requests are handed
// back by a device's thread, and who both may be drained by a thread that holds the lock which the
// other one wants.
//
// The pieces are the library's own: the inboxes, the wake-up and the table of ranges. How an issuer
// puts them together is repeated here, as in issuer_impl.h (wait_until_helped, sleep),
// issuer_impl.cc (take_foreign, kiocb_complete, notify) and adoption.cc (adopt).
#include <gtest/gtest.h>

#include <array>

#include "base/schedule_test_support.h"
#include "dio/range_table.h"
#include "issuer/inbox.h"
#include "issuer/wake.h"

namespace handback::testing {
namespace {

using Explored = ExploredConcurrency<>;

enum class Policy {
  as_it_is,
  no_adoption,
  count_at_deliver,  // The range is left when the user is told, not when the request is settled.
};

struct Request {
  Plain<Request*> next;
  RangeEntry range;
  unsigned owner = 0;
  Plain<unsigned> settled;
  Plain<unsigned> delivered;
};

struct Notification {
  Plain<Notification*> next;
};

struct ExploredWake : WakeProtocol<ExploredEvent, Explored> {
  using WakeProtocol<ExploredEvent, Explored>::event;
};

struct MiniIssuer {
  SharedInbox<Request, Explored> handed;
  SharedInbox<Request, Explored> settled;
  SharedInbox<Notification, Explored> notified;
  ExploredWake wake;
  unsigned delivered = 0;

  Notification granted_note;
  RangeEntry drain;
  bool drain_granted = false;

  [[nodiscard]] bool nothing_pushed() const {
    return handed.empty() && settled.empty() && notified.empty();
  }
};

template <unsigned requests_each, Policy policy>
struct Drained {
  static constexpr unsigned issuer_count = 2;

  RangeTable<Explored> table;
  std::array<MiniIssuer, issuer_count> issuers;
  std::array<std::array<Request, requests_each>, issuer_count> requests;
  bool user_lock = false;  // A mutex of the user's: taken in one step, waited for.

  Drained() {
    name(table, "table");
    for (unsigned i = 0; i < issuer_count; ++i) {
      name(issuers[i].wake.event(), i == 0 ? "eventfd 0" : "eventfd 1");
      name(issuers[i], i == 0 ? "issuer 0" : "issuer 1");
      for (unsigned k = 0; k < requests_each; ++k) {
        Request& request = requests[i][k];
        request.owner = i;
        request.range.offset = 16U * i + 4 * k;
        request.range.end = request.range.offset + 8;
        request.range.mode = RangeMode::write;
        table.enter(request.range, false);
      }
    }
    name(requests, "requests");
  }

  // --- a device's thread hands back ---

  void hand_back(unsigned issuer) {
    for (Request& request : requests[issuer]) {
      issuers[issuer].handed.push(request);
      issuers[issuer].wake.wake();
    }
  }

  // --- an issuer's thread ---

  void settle(Request& request, unsigned by) {
    request.settled = request.settled + 1;
    if (policy != Policy::count_at_deliver) table.leave(request.range);
    if (by == request.owner) {
      deliver_later(request);
      return;
    }
    MiniIssuer& owner = issuers[request.owner];
    owner.settled.push(request);
    owner.wake.wake();
  }

  // Delivery is no part of a drain: here it only is put aside.
  void deliver_later(Request& request) { ready[request.owner].push(request); }

  void deliver_ready(unsigned self) {
    LocalQueue<Request> batch = ready[self].take();
    while (!batch.empty()) {
      Request& request = batch.pop();
      lock_user_mutex();
      check(request.settled == 1, "a request is settled once, and before it is delivered");
      request.delivered = request.delivered + 1;
      if (policy == Policy::count_at_deliver) table.leave(request.range);
      ++issuers[self].delivered;
      unlock_user_mutex();
    }
  }

  bool settle_ready(unsigned self) {
    MiniIssuer& issuer = issuers[self];
    if (issuer.nothing_pushed()) return false;
    LocalQueue<Request> settled = issuer.settled.take();
    LocalQueue<Request> handed = issuer.handed.take();
    LocalQueue<Notification> notes = issuer.notified.take();
    while (!settled.empty())
      deliver_later(settled.pop());
    while (!handed.empty())
      settle(handed.pop(), self);
    while (!notes.empty()) {
      notes.pop();
      issuer.drain_granted = true;
    }
    return true;
  }

  bool adopt(unsigned self) {
    if (policy == Policy::no_adoption) return false;
    MiniIssuer& other = issuers[1 - self];
    if (other.handed.empty()) return false;
    LocalQueue<Request> handed = other.handed.take();
    const bool any = !handed.empty();
    while (!handed.empty())
      settle(handed.pop(), self);
    return any;
  }

  // A helped sleep has a time limit: it ends, too, when there is something to adopt.
  void sleep(unsigned self, bool helped) {
    MiniIssuer& issuer = issuers[self];
    issuer.wake.announce_sleep();
    if (issuer.nothing_pushed()) {
      const ExploredEvent& event = issuer.wake.event();
      sleep_until("asleep", &event, [this, self, helped, &event] {
        return event.readable() ||
               (helped && policy != Policy::no_adoption && !issuers[1 - self].handed.empty());
      });
    }
    issuer.wake.end_sleep();
  }

  void drain(unsigned self) {
    MiniIssuer& issuer = issuers[self];
    issuer.drain.end = ~std::uint64_t{0};
    issuer.drain.mode = RangeMode::everything;
    issuer.drain.owner = &issuer;
    issuer.drain.granted = [](RangeEntry& entry) noexcept {
      auto& waiter = *static_cast<MiniIssuer*>(entry.owner);
      waiter.notified.push(waiter.granted_note);
      waiter.wake.wake();
    };
    if (table.enter(issuer.drain, false) == RangeTable<Explored>::Entered::queued) {
      while (!issuer.drain_granted) {
        if (settle_ready(self) || adopt(self)) continue;
        sleep(self, true);
      }
    }
    check_drained();
    table.leave(issuer.drain);
  }

  void check_drained() {
    check(table.active_count == 1, "a drain is alone");
    for (const auto& of_issuer : requests) {
      for (const Request& request : of_issuer)
        check(request.settled.peek() == 1, "a drain has seen every request settled");
    }
  }

  void deliver_all(unsigned self) {
    for (;;) {
      deliver_ready(self);
      if (issuers[self].delivered == requests_each) return;
      if (!settle_ready(self)) sleep(self, false);
    }
  }

  void lock_user_mutex() {
    sleep_until("user's lock", &user_lock, [this] { return !user_lock; });
    user_lock = true;
  }
  void unlock_user_mutex() { user_lock = false; }

  void at_end() {
    check(table.active == nullptr && table.waiting_first == nullptr, "nothing is left in flight");
    for (const auto& of_issuer : requests) {
      for (const Request& request : of_issuer) {
        check(request.settled.peek() == 1, "each request is settled once");
        check(request.delivered.peek() == 1, "each request is delivered once, by its owner");
      }
    }
  }

  std::array<LocalQueue<Request>, issuer_count> ready;
};

// One drains with the user's lock held; the other wants that lock before it looks at anything.
template <unsigned requests_each, Policy policy = Policy::as_it_is>
struct OwnerWantsTheLock : Drained<requests_each, policy> {
  static constexpr std::array threads{"drainer", "owner", "device"};
  OwnerWantsTheLock() { this->user_lock = true; }

  void run(unsigned thread) {
    if (thread == 0) {
      this->drain(0);
      this->unlock_user_mutex();
      this->deliver_all(0);
    } else if (thread == 1) {
      this->lock_user_mutex();
      this->unlock_user_mutex();
      this->deliver_all(1);
    } else {
      this->hand_back(0);
      this->hand_back(1);
    }
  }
};

// Both drain what the other one has in flight.
template <unsigned requests_each, Policy policy = Policy::as_it_is>
struct BothDrain : Drained<requests_each, policy> {
  static constexpr std::array threads{"issuer 0", "issuer 1", "device a", "device b"};

  void run(unsigned thread) {
    if (thread >= 2) {
      this->hand_back(thread - 2);
      return;
    }
    this->lock_user_mutex();
    this->drain(thread);
    this->unlock_user_mutex();
    this->deliver_all(thread);
  }
};

TEST(DrainSchedules, EndAndSettleAndDeliverOnce) {
  expect_holds(explore_all<OwnerWantsTheLock<1>>(3));
  expect_holds(explore_all<BothDrain<1>>(2));
  expect_holds(explore_random<OwnerWantsTheLock<3>>(5'000));
  expect_holds(explore_random<BothDrain<3>>(5'000));
}

TEST(DrainSchedules, ShowADrainWithoutAdoption) {
  expect_finds(explore_all<OwnerWantsTheLock<1, Policy::no_adoption>>(1), "owner: user's lock");
  expect_finds(explore_first_seeds<BothDrain<3, Policy::no_adoption>>(5'000), "deadlock");
}

TEST(DrainSchedules, ShowACountThatDropsAtDelivery) {
  expect_finds(explore_all<OwnerWantsTheLock<1, Policy::count_at_deliver>>(1),
               "drainer: asleep at eventfd 0");
  expect_finds(explore_first_seeds<BothDrain<3, Policy::count_at_deliver>>(5'000), "deadlock");
}

}  // namespace
}  // namespace handback::testing
