// The table of ranges by itself: who conflicts, who starts, in which order.
#include "dio/inflight.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <set>
#include <thread>

#include "base/base_test_support.h"

namespace handback::testing {
namespace {

using Impl = DioInflight::Impl;

constexpr std::array<RangeMode, 4> all_modes = {RangeMode::read, RangeMode::write,
                                                RangeMode::write_exclusive, RangeMode::everything};

struct Entry : RangeEntry {
  Entry(std::uint64_t from, std::uint64_t to, RangeMode of, std::vector<Entry*>* grants = nullptr) {
    offset = from;
    end = to;
    mode = of;
    owner = grants;
    granted = [](RangeEntry& entry) noexcept {
      static_cast<std::vector<Entry*>*>(entry.owner)->push_back(static_cast<Entry*>(&entry));
    };
  }
};

// --- conflicts ---

TEST(RangeConflict, OfModesFollowsTheTableBothWays) {
  // read, write, write_exclusive, everything
  constexpr bool table[4][4] = {{false, false, false, true},
                                {false, false, true, true},
                                {false, true, true, true},
                                {true, true, true, true}};
  for (unsigned a = 0; a < 4; ++a) {
    for (unsigned b = 0; b < 4; ++b) {
      const Entry first(0, 8, all_modes[a]);
      const Entry second(4, 12, all_modes[b]);
      EXPECT_EQ(ranges_conflict(first, second), table[a][b]) << a << ' ' << b;
      EXPECT_EQ(ranges_conflict(second, first), table[a][b]) << a << ' ' << b;
    }
  }
}

TEST(RangeConflict, NeedsAByteInCommon) {
  const auto conflict = [](std::uint64_t a, std::uint64_t a_end, std::uint64_t b,
                           std::uint64_t b_end) {
    return ranges_conflict(Entry(a, a_end, RangeMode::everything),
                           Entry(b, b_end, RangeMode::everything));
  };
  for (std::uint64_t a = 0; a < 6; ++a) {
    for (std::uint64_t a_end = a + 1; a_end <= 6; ++a_end) {
      for (std::uint64_t b = 0; b < 6; ++b) {
        for (std::uint64_t b_end = b + 1; b_end <= 6; ++b_end) {
          const bool common = std::max(a, b) < std::min(a_end, b_end);
          EXPECT_EQ(conflict(a, a_end, b, b_end), common) << a << a_end << b << b_end;
        }
      }
    }
  }
  constexpr std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
  EXPECT_TRUE(conflict(0, limit, limit - 1, limit));
}

// --- the line ---

class InflightTable : public ::testing::Test {
 protected:
  static constexpr auto granted = Impl::Entered::granted;
  static constexpr auto queued = Impl::Entered::queued;
  static constexpr auto refused = Impl::Entered::refused;

  Entry entry(std::uint64_t from, std::uint64_t to, RangeMode mode) {
    return {from, to, mode, &grants_};
  }
  std::vector<Entry*> take_grants() { return std::exchange(grants_, {}); }

  Impl table_;
  std::vector<Entry*> grants_;
};

TEST_F(InflightTable, LetsWhatDoesNotConflictStartAtOnce) {
  Entry read = entry(0, 8, RangeMode::read);
  Entry write = entry(0, 8, RangeMode::write);
  Entry other_write = entry(4, 12, RangeMode::write);
  Entry exclusive_elsewhere = entry(12, 16, RangeMode::write_exclusive);
  Entry read_beside = entry(12, 16, RangeMode::read);
  for (Entry* each : {&read, &write, &other_write, &exclusive_elsewhere, &read_beside})
    EXPECT_EQ(table_.enter(*each, false), granted);
  EXPECT_EQ(table_.active_count, 5U);
  for (Entry* each : {&write, &read_beside, &read, &exclusive_elsewhere, &other_write})
    table_.leave(*each);
  EXPECT_EQ(table_.active_count, 0U);
  EXPECT_EQ(table_.excluding_count, 0U);
  EXPECT_EQ(table_.active, nullptr);
  // Who started at once is not told again.
  EXPECT_TRUE(grants_.empty());
}

TEST_F(InflightTable, MakesAConflictWaitUntilTheLastThatHoldsItBackLeaves) {
  Entry first = entry(0, 4, RangeMode::write);
  Entry second = entry(4, 8, RangeMode::write);
  Entry drain = entry(0, 8, RangeMode::everything);
  EXPECT_EQ(table_.enter(first, false), granted);
  EXPECT_EQ(table_.enter(second, false), granted);
  EXPECT_EQ(table_.enter(drain, false), queued);
  EXPECT_EQ(table_.active_count, 2U);
  table_.leave(first);
  EXPECT_TRUE(take_grants().empty());
  table_.leave(second);
  EXPECT_EQ(take_grants(), std::vector<Entry*>{&drain});
  EXPECT_EQ(table_.active_count, 1U);
  table_.leave(drain);
}

TEST_F(InflightTable, RefusesANowaitInsteadOfPuttingItInLine) {
  Entry holder = entry(0, 8, RangeMode::write_exclusive);
  Entry hasty = entry(4, 12, RangeMode::write);
  EXPECT_EQ(table_.enter(holder, true), granted);
  EXPECT_EQ(table_.enter(hasty, true), refused);
  EXPECT_EQ(table_.waiting_first, nullptr);
  table_.leave(holder);
  EXPECT_TRUE(grants_.empty());
  EXPECT_EQ(table_.enter(hasty, true), granted);
  table_.leave(hasty);
}

// Otherwise a stream of new requests starves a drain.
TEST_F(InflightTable, PutsANewcomerBehindThoseInLineThatItConflictsWith) {
  Entry writing = entry(0, 4, RangeMode::write);
  Entry drain = entry(0, 8, RangeMode::everything);
  Entry late = entry(4, 8, RangeMode::write);  // Conflicts with nothing that is active.
  Entry elsewhere = entry(8, 12, RangeMode::write);
  EXPECT_EQ(table_.enter(writing, false), granted);
  EXPECT_EQ(table_.enter(drain, false), queued);
  EXPECT_EQ(table_.enter(late, false), queued);
  EXPECT_EQ(table_.enter(late, true), refused);
  EXPECT_EQ(table_.enter(elsewhere, false), granted);
  table_.leave(writing);
  EXPECT_EQ(take_grants(), std::vector<Entry*>{&drain});
  table_.leave(drain);
  EXPECT_EQ(take_grants(), std::vector<Entry*>{&late});
  table_.leave(late);
  table_.leave(elsewhere);
}

TEST_F(InflightTable, LetsThoseInLinePassWhoseWayIsFree) {
  Entry left = entry(0, 4, RangeMode::write_exclusive);
  Entry right = entry(8, 12, RangeMode::write_exclusive);
  Entry behind_left = entry(0, 4, RangeMode::write_exclusive);
  Entry behind_both = entry(2, 10, RangeMode::write_exclusive);
  Entry behind_right = entry(10, 12, RangeMode::write_exclusive);
  EXPECT_EQ(table_.enter(left, false), granted);
  EXPECT_EQ(table_.enter(right, false), granted);
  EXPECT_EQ(table_.enter(behind_left, false), queued);
  EXPECT_EQ(table_.enter(behind_both, false), queued);
  EXPECT_EQ(table_.enter(behind_right, false), queued);
  table_.leave(right);
  // The one in the middle still waits for the left; it does not hold back whom it does not touch.
  EXPECT_EQ(take_grants(), std::vector<Entry*>{&behind_right});
  table_.leave(left);
  EXPECT_EQ(take_grants(), std::vector<Entry*>{&behind_left});
  table_.leave(behind_right);
  EXPECT_TRUE(take_grants().empty());
  table_.leave(behind_left);
  EXPECT_EQ(take_grants(), std::vector<Entry*>{&behind_both});
  table_.leave(behind_both);
}

TEST_F(InflightTable, StartsAllAtOnceWhomOnlyOneHeldBackOldestFirst) {
  Entry drain = entry(0, 16, RangeMode::everything);
  EXPECT_EQ(table_.enter(drain, false), granted);
  std::vector<Entry> entries;
  entries.reserve(4);
  for (std::uint64_t i = 0; i < 4; ++i)
    entries.push_back(entry(i, i + 4, i % 2 == 0 ? RangeMode::read : RangeMode::write));
  for (Entry& each : entries)
    EXPECT_EQ(table_.enter(each, false), queued);
  table_.leave(drain);
  EXPECT_EQ(take_grants(),
            (std::vector<Entry*>{&entries[0], &entries[1], &entries[2], &entries[3]}));
  for (Entry& each : entries)
    table_.leave(each);
}

TEST_F(InflightTable, GrantsInTheOrderOfArrivalToThoseWhoExcludeEachOther) {
  std::vector<Entry> entries;
  entries.reserve(5);
  for (int i = 0; i < 5; ++i)
    entries.push_back(entry(0, 4, RangeMode::write_exclusive));
  EXPECT_EQ(table_.enter(entries[0], false), granted);
  for (std::size_t i = 1; i < 5; ++i)
    EXPECT_EQ(table_.enter(entries[i], false), queued);
  for (std::size_t i = 1; i < 5; ++i) {
    table_.leave(entries[i - 1]);
    EXPECT_EQ(take_grants(), std::vector<Entry*>{&entries[i]});
  }
  table_.leave(entries[4]);
  EXPECT_EQ(table_.waiting_first, nullptr);
}

// An entry may be gone as soon as it was granted: here it leaves, and is used for something else.
TEST_F(InflightTable, LetsAnEntryLeaveFromWithinItsGrant) {
  struct Leaver : RangeEntry {
    Impl* table = nullptr;
    std::vector<Leaver*>* left = nullptr;
  };
  std::vector<Leaver*> left;
  std::array<Leaver, 3> leavers;
  Entry drain = entry(0, 8, RangeMode::everything);
  EXPECT_EQ(table_.enter(drain, false), granted);
  for (Leaver& leaver : leavers) {
    leaver.end = 8;
    leaver.mode = RangeMode::write_exclusive;
    leaver.table = &table_;
    leaver.left = &left;
    leaver.granted = [](RangeEntry& entry) noexcept {
      auto& self = static_cast<Leaver&>(entry);
      self.left->push_back(&self);
      self.table->leave(self);
      self.offset = self.end = ~std::uint64_t{0};
    };
    EXPECT_EQ(table_.enter(leaver, false), queued);
  }
  table_.leave(drain);
  EXPECT_EQ(left, (std::vector<Leaver*>{&leavers[0], &leavers[1], &leavers[2]}));
  EXPECT_EQ(table_.active_count, 0U);
}

TEST(InflightTableRandom, NeverLetsAConflictStartNorForgetsAnyone) {
  std::mt19937_64 random(announce_seed());
  Impl table;
  std::vector<Entry*> grants;
  std::vector<std::unique_ptr<Entry>> active;
  std::vector<std::unique_ptr<Entry>> waiting;  // Oldest first.
  const auto free_to_start = [&](const Entry& entry, std::size_t place_in_line) {
    for (const auto& other : active) {
      if (ranges_conflict(entry, *other)) return false;
    }
    for (std::size_t i = 0; i < place_in_line; ++i) {
      if (ranges_conflict(entry, *waiting[i])) return false;
    }
    return true;
  };
  for (int step = 0; step < 5'000; ++step) {
    if (random() % 2 == 0 && active.size() + waiting.size() < 12) {
      const std::uint64_t from = random() % 32;
      auto entry =
          std::make_unique<Entry>(from, from + 1 + random() % 12, all_modes[random() % 4], &grants);
      const bool nowait = random() % 8 == 0;
      const bool may_start = free_to_start(*entry, waiting.size());
      const Impl::Entered entered = table.enter(*entry, nowait);
      ASSERT_EQ(entered, may_start ? Impl::Entered::granted
                         : nowait  ? Impl::Entered::refused
                                   : Impl::Entered::queued);
      if (entered == Impl::Entered::granted) active.push_back(std::move(entry));
      if (entered == Impl::Entered::queued) waiting.push_back(std::move(entry));
    } else if (!active.empty()) {
      const auto leaving = active.begin() + static_cast<std::ptrdiff_t>(random() % active.size());
      std::unique_ptr<Entry> entry = std::move(*leaving);
      active.erase(leaving);
      grants.clear();
      table.leave(*entry);
      std::vector<Entry*> expected;
      for (std::size_t i = 0; i < waiting.size();) {
        if (!free_to_start(*waiting[i], i)) {
          ++i;
          continue;
        }
        expected.push_back(waiting[i].get());
        active.push_back(std::move(waiting[i]));
        waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(i));
      }
      ASSERT_EQ(std::set<Entry*>(grants.begin(), grants.end()),
                std::set<Entry*>(expected.begin(), expected.end()));
      ASSERT_EQ(grants.size(), expected.size());
    }
    ASSERT_EQ(table.active_count, active.size());
  }
  while (!active.empty()) {
    const std::unique_ptr<Entry> entry = std::move(active.back());
    active.pop_back();
    grants.clear();
    table.leave(*entry);
    for (Entry* granted : grants) {
      const auto found = std::find_if(waiting.begin(), waiting.end(),
                                      [&](const auto& other) { return other.get() == granted; });
      ASSERT_NE(found, waiting.end());
      active.push_back(std::move(*found));
      waiting.erase(found);
    }
  }
  EXPECT_TRUE(waiting.empty());
}

// --- threads ---

// What each unit of the file holds now, by mode. Whoever is granted a range adds itself to its
// units and looks at whom it finds there.
class Shadow {
 public:
  static constexpr std::uint64_t units = 16;

  // False if anyone is there who must not be.
  bool enter(const RangeEntry& entry) {
    bool alone = true;
    for (std::uint64_t unit = entry.offset; unit < entry.end; ++unit) {
      const std::uint32_t before = holders_[unit].fetch_add(one(entry.mode));
      for (const RangeMode other : all_modes) {
        const bool there = ((before >> shift(other)) & 0xff) != 0;
        const RangeEntry probe{.offset = unit, .end = unit + 1, .mode = other};
        if (there && ranges_conflict(entry, probe)) alone = false;
      }
    }
    return alone;
  }
  void leave(const RangeEntry& entry) {
    for (std::uint64_t unit = entry.offset; unit < entry.end; ++unit)
      holders_[unit].fetch_sub(one(entry.mode));
  }

 private:
  static unsigned shift(RangeMode mode) { return 8 * static_cast<unsigned>(mode); }
  static std::uint32_t one(RangeMode mode) { return 1U << shift(mode); }
  std::array<std::atomic<std::uint32_t>, units> holders_{};
};

// A request that nobody starts hangs the test.
TEST(InflightThreads, HoldRangesThatDoNotConflictAndAllGetTheirTurn) {
  constexpr unsigned thread_count = 4;
  constexpr unsigned rounds = 4'000;
  const std::uint64_t seed = announce_seed();
  Impl table;
  Shadow shadow;
  std::atomic<unsigned> conflicts{0};
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < thread_count; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(seed + thread);
      for (unsigned round = 0; round < rounds; ++round) {
        std::atomic<bool> may_start{false};
        RangeEntry entry;
        entry.offset = random() % Shadow::units;
        entry.end = entry.offset + 1 + random() % (Shadow::units - entry.offset);
        const auto mode_weight = random() % 16;
        entry.mode = all_modes[mode_weight == 0 ? 3 : mode_weight % 3];
        entry.owner = &may_start;
        entry.granted = [](RangeEntry& granted) noexcept {
          static_cast<std::atomic<bool>*>(granted.owner)->store(true, std::memory_order_release);
        };
        const Impl::Entered entered = table.enter(entry, random() % 8 == 0);
        if (entered == Impl::Entered::refused) continue;
        while (entered == Impl::Entered::queued && !may_start.load(std::memory_order_acquire))
          std::this_thread::yield();
        if (!shadow.enter(entry)) conflicts.fetch_add(1);
        if (random() % 4 == 0) std::this_thread::yield();
        shadow.leave(entry);
        table.leave(entry);
      }
    });
  }
  for (auto& thread : threads)
    thread.join();
  EXPECT_EQ(conflicts.load(), 0U);
  EXPECT_EQ(table.active_count, 0U);
  EXPECT_EQ(table.excluding_count, 0U);
  EXPECT_EQ(table.active, nullptr);
  EXPECT_EQ(table.waiting_first, nullptr);
  EXPECT_EQ(table.waiting_last, nullptr);
}

TEST(DioInflightDeathTest, IsNotDestroyedWithARequestInFlight) {
  EXPECT_DEATH(
      {
        DioInflight inflight;
        Entry entry(0, 8, RangeMode::read);
        dio_inflight_impl(inflight).enter(entry, false);
      },
      "a file goes only when none of its requests is in flight");
}

// --- what lets reads pass ---

TEST(RangeTable, LetsReadsPassThoseInLineBehindAFreeze) {
  for (const bool lets_reads_pass : {true, false}) {
    Impl table;
    std::vector<Entry*> grants;
    Entry freeze(0, 1 << 20, RangeMode::write_exclusive, &grants);
    freeze.lets_reads_pass = lets_reads_pass;
    Entry drain(0, 4096, RangeMode::everything, &grants);
    Entry read(0, 4096, RangeMode::read, &grants);
    ASSERT_EQ(table.enter(freeze, false), Impl::Entered::granted);
    ASSERT_EQ(table.enter(drain, false), Impl::Entered::queued);
    EXPECT_EQ(table.enter(read, false),
              lets_reads_pass ? Impl::Entered::granted : Impl::Entered::queued);
    table.leave(freeze);
    if (lets_reads_pass) {
      EXPECT_THAT(grants, ::testing::IsEmpty());
      table.leave(read);
    }
    ASSERT_EQ(grants, (std::vector<Entry*>{&drain}));
    table.leave(drain);
    if (!lets_reads_pass) table.leave(read);
    EXPECT_EQ(table.active_count, 0U);
    EXPECT_EQ(table.passing_count, 0U);
  }
}

}  // namespace
}  // namespace handback::testing
