// The table of ranges in every schedule: nothing that conflicts runs at once, first come is first
// served, and who stands in line is granted once.
#include "dio/range_table.h"

#include <gtest/gtest.h>

#include <array>

#include "base/schedule_test_support.h"

namespace handback::testing {
namespace {

using Table = RangeTable<ExploredConcurrency<>>;

// The twins.
struct OvertakingTable : Table {
  Entered enter(RangeEntry& entry, bool) noexcept {
    lock.lock();
    // Only what is active holds it back.
    const bool waits = held_back(entry, waiting_first);
    waits ? put_in_line(entry) : activate(entry);
    lock.unlock();
    return waits ? Entered::queued : Entered::granted;
  }
};

struct ForgettingTable : Table {
  void leave(RangeEntry& entry) noexcept {
    lock.lock();
    deactivate(entry);
    RangeEntry* started = nullptr;
    for (RangeEntry* candidate = waiting_first; candidate != nullptr;) {
      RangeEntry* next_candidate = candidate->next;
      if (!held_back(*candidate, candidate)) {
        take_out_of_line(*candidate);
        activate(*candidate);
        started = candidate;  // The one before it is never told.
      }
      candidate = next_candidate;
    }
    lock.unlock();
    if (started != nullptr) started->granted(*started);
  }
};

struct StrandingTable : Table {
  bool withdraw(RangeEntry& entry, RangeEntry** started) noexcept {
    lock.lock();
    const RangeEntry* other = waiting_first;
    while (other != nullptr && other != &entry)
      other = other->next;
    if (other != nullptr) take_out_of_line(entry);
    *started = nullptr;  // Those that it held back stay in line.
    lock.unlock();
    return other != nullptr;
  }
};

struct Request {
  std::uint64_t offset;
  std::uint64_t end;
  RangeMode mode;
};
template <std::size_t count>
using Requests = std::array<Request, count>;

constexpr auto read = RangeMode::read;
constexpr auto write = RangeMode::write;
constexpr auto exclusive = RangeMode::write_exclusive;
constexpr auto everything = RangeMode::everything;

constexpr Requests<3> drain_between_writes = {{{0, 8, write}, {0, 16, everything}, {4, 12, write}}};
constexpr Requests<3> drain_before_two_reads = {{{0, 16, everything}, {0, 8, read}, {4, 12, read}}};
constexpr Requests<3> partial_blocks = {{{0, 8, exclusive}, {4, 12, exclusive}, {8, 16, write}}};
constexpr Requests<3> two_drains = {{{0, 8, everything}, {4, 16, everything}, {0, 16, write}}};
constexpr Requests<3> a_read_passes = {{{0, 8, read}, {0, 8, exclusive}, {0, 8, write}}};
constexpr Requests<5> crowd = {
    {{0, 8, write}, {0, 16, everything}, {4, 12, read}, {8, 16, exclusive}, {4, 8, everything}}};

constexpr Requests<3> held_back_by_a_drain = {{{0, 8, write}, {0, 16, everything}, {8, 16, write}}};

// The thread `withdrawing` leaves the line again at once if it has to stand in it.
template <const auto& requests, unsigned rounds, typename TableType, unsigned withdrawing>
struct Crossing {
  static constexpr std::size_t count = requests.size();

  struct Entry : RangeEntry {
    bool may_start = false;
    bool queued = false;
    bool withdrawn = false;
    unsigned grants = 0;
    std::uint64_t arrival = 0;  // 0: not in the table.
    bool active = false;
  };

  TableType table;
  std::array<Entry, count> entries;
  std::uint64_t arrivals = 0;

  Crossing() {
    name(table, "table");
    name(entries, "entries");
    for (std::size_t i = 0; i < count; ++i) {
      Entry& entry = entries[i];
      entry.offset = requests[i].offset;
      entry.end = requests[i].end;
      entry.mode = requests[i].mode;
      entry.granted = [](RangeEntry& of) noexcept {
        auto& granted = static_cast<Entry&>(of);
        check(granted.queued && ++granted.grants == 1, "who stands in line is granted once");
        granted.may_start = true;
      };
    }
  }

  void run(unsigned thread) {
    Entry& entry = entries[thread];
    for (unsigned round = 0; round < rounds; ++round) {
      entry.may_start = false;
      entry.grants = 0;
      entry.queued = true;  // Whether it is shows only afterwards.
      if (table.enter(entry, false) == TableType::Entered::queued) {
        if (thread == withdrawing && withdraw(entry)) return;
        sleep_until("in line", &entry, [&entry] { return entry.may_start; });
        check(entry.grants == 1, "who stands in line is granted once");
      } else {
        check(entry.grants == 0, "who starts at once is granted nothing");
      }
      entry.queued = false;
      table.leave(entry);
    }
  }

  bool withdraw(Entry& entry) {
    RangeEntry* started = nullptr;
    entry.withdrawn = table.withdraw(entry, &started);
    TableType::call_granted(started);
    return entry.withdrawn;
  }

  // The table changes in one step, under its lock, so here it is whole.
  void at_each_step() {
    for (Entry& entry : entries) {
      const bool was_active = entry.active;
      entry.active = stands_in(table.active, entry);
      if (!entry.active && !stands_in(table.waiting_first, entry)) {
        entry.arrival = 0;
        continue;
      }
      if (entry.arrival == 0) entry.arrival = ++arrivals;
      if (!entry.active || was_active) continue;
      for (const RangeEntry* other = table.waiting_first; other != nullptr; other = other->next) {
        const auto& waiting = static_cast<const Entry&>(*other);
        check(!ranges_conflict(entry, waiting) || waiting.arrival == 0 ||
                  waiting.arrival > entry.arrival,
              "first come, first served");
      }
    }
    for (const RangeEntry* one = table.waiting_first; one != nullptr; one = one->next)
      check(is_held_back(*one), "nobody stands in line for nothing");
    for (const RangeEntry* one = table.active; one != nullptr; one = one->next) {
      for (const RangeEntry* other = one->next; other != nullptr; other = other->next)
        check(!ranges_conflict(*one, *other), "nothing that conflicts is active at once");
    }
  }

  [[nodiscard]] bool is_held_back(const RangeEntry& waiting) const {
    for (const RangeEntry* other = table.active; other != nullptr; other = other->next) {
      if (ranges_conflict(waiting, *other)) return true;
    }
    for (const RangeEntry* other = table.waiting_first; other != &waiting; other = other->next) {
      if (ranges_conflict(waiting, *other)) return true;
    }
    return false;
  }

  static bool stands_in(const RangeEntry* list, const RangeEntry& entry) {
    while (list != nullptr && list != &entry)
      list = list->next;
    return list != nullptr;
  }

  void at_end() {
    for (const Entry& entry : entries)
      check(!entry.withdrawn || entry.grants == 0, "who has left the line is not granted");
    check(table.active == nullptr && table.waiting_first == nullptr &&
              table.waiting_last == nullptr && table.active_count == 0 &&
              table.excluding_count == 0,
          "the table is empty in the end");
  }
};

constexpr unsigned nobody = ~0U;

template <const auto& requests, unsigned rounds = 1, typename TableType = Table,
          unsigned withdrawing = nobody>
struct OfThree : Crossing<requests, rounds, TableType, withdrawing> {
  static constexpr std::array threads{"first", "second", "third"};
};
template <unsigned rounds, typename TableType = Table, unsigned withdrawing = nobody>
struct OfFive : Crossing<crowd, rounds, TableType, withdrawing> {
  static constexpr std::array threads{"write", "drain", "read", "exclusive", "other drain"};
};

TEST(RangeTableSchedules, KeepConflictsApartAndServeFirstComeFirst) {
  expect_holds(explore_all<OfThree<drain_between_writes>>(3));
  expect_holds(explore_all<OfThree<drain_before_two_reads>>(3));
  expect_holds(explore_all<OfThree<partial_blocks>>(3));
  expect_holds(explore_all<OfThree<two_drains>>(3));
  expect_holds(explore_all<OfThree<a_read_passes>>(3));
  expect_holds(explore_random<OfFive<3>>(10'000));
}

TEST(RangeTableSchedules, GrantOrWithdrawAndStrandNobody) {
  expect_holds(explore_all<OfThree<held_back_by_a_drain, 1, Table, 1>>(3));
  expect_holds(explore_all<OfThree<two_drains, 1, Table, 1>>(3));
  expect_holds(explore_random<OfFive<3, Table, 1>>(10'000));
}

TEST(RangeTableSchedules, ShowAWithdrawalThatStrandsThoseBehind) {
  expect_finds(explore_all<OfThree<held_back_by_a_drain, 1, StrandingTable, 1>>(3),
               "nobody stands in line for nothing");
}

TEST(RangeTableSchedules, ShowANewcomerThatOvertakesTheLine) {
  expect_finds(explore_all<OfThree<drain_between_writes, 1, OvertakingTable>>(3),
               "first come, first served");
  expect_finds(explore_first_seeds<OfFive<3, OvertakingTable>>(10'000), "first come, first served");
}

TEST(RangeTableSchedules, ShowALeaveThatForgetsOne) {
  expect_finds(explore_all<OfThree<drain_before_two_reads, 1, ForgettingTable>>(3),
               "in line at entries");
  expect_finds(explore_first_seeds<OfFive<3, ForgettingTable>>(10'000), "deadlock");
}

}  // namespace
}  // namespace handback::testing
