// The table of byte ranges in flight on one file: who may start, who stands in line, who leaves.
#pragma once

#include <handback/iomap.h>
#include <algorithm>
#include <cstdint>

#include "base/leaf_lock.h"
#include "base/planted_bug.h"

namespace handback {

struct RangeEntry {
  std::uint64_t offset = 0;
  std::uint64_t end = 0;
  RangeMode mode = RangeMode::read;
  // Held for as long as somebody likes (a freeze): once it is active, reads pass those that stand
  // in line behind it. None of them could start before.
  bool lets_reads_pass = false;
  // Called without the lock held once an entry that stood in line may start. Any context, device
  // included.
  void (*granted)(RangeEntry& entry) noexcept = nullptr;
  void* owner = nullptr;

  // Of a write that may make the file longer. Called under the table's lock as the entry enters,
  // with where the writes end that entered before and are not published yet (0: there are none), so
  // that a place at the end of the file is taken in the order of entering: sets offset, end,
  // extending and file_end. False: it cannot have a place.
  bool (*place)(RangeEntry& entry, std::uint64_t reserved_end) noexcept = nullptr;
  std::uint64_t file_end = 0;  // Of one that is extending: its own end, where `end` is rounded up.
  // Of one that is extending: where those end that entered before and do not begin above it; 0:
  // there are none.
  std::uint64_t below_end = 0;
  bool extending = false;   // It ends beyond the file's size, and is not published yet.
  bool behind_gap = false;  // A write below it that entered earlier has failed.

  RangeEntry* previous = nullptr;
  RangeEntry* next = nullptr;
  RangeEntry* granted_next = nullptr;  // Of those that leave() is about to call.
  std::uint64_t order = 0;             // Of entering, among those that extend.
  // Called as `granted` is, when one that waited in may_publish() need not wait any more.
  void (*publishable)(RangeEntry& entry) noexcept = nullptr;
  bool awaits_publication = false;
  RangeEntry* publishable_next = nullptr;
};

[[nodiscard]] constexpr bool excludes_others(RangeMode mode) noexcept {
  return mode == RangeMode::write_exclusive || mode == RangeMode::everything;
}

[[nodiscard]] constexpr bool modes_conflict(RangeMode a, RangeMode b) noexcept {
  if (a == RangeMode::everything || b == RangeMode::everything) return true;
  if (a == RangeMode::read || b == RangeMode::read) return false;
  return a == RangeMode::write_exclusive || b == RangeMode::write_exclusive;
}

// Both entries' ranges overlap and their modes exclude each other.
[[nodiscard]] constexpr bool ranges_conflict(const RangeEntry& a, const RangeEntry& b) noexcept {
  std::uint64_t off = planted(PlantedBug::range_conflict_off_by_one) ? 1 : 0;
  return a.offset + off < b.end && b.offset + off < a.end && modes_conflict(a.mode, b.mode);
}

template <typename Concurrency>
struct RangeTable {
  enum class Entered : std::uint8_t { granted, queued, refused, no_place };

  // Starts the entry, or puts it in line behind whatever conflicts (refuses it, with nowait).
  // First come, first served: a newcomer also waits for those in line that it conflicts with, so
  // that a drain cannot be starved by new requests.
  Entered enter(RangeEntry& entry, bool nowait) noexcept;

  // Takes a started entry out and starts those in line that nothing holds back any more. With
  // `failed`, those that extend the file behind it learn of the gap.
  void leave(RangeEntry& entry, bool failed = false) noexcept;

  // Sizes are published in order: true if no write that entered before `entry`, and begins below
  // it, has still to be published. Else `entry.publishable` is called once that is so. Whoever
  // waits here waits for earlier entries only, and so do those in line: the waits have no cycle.
  // `waits`, if given, is called under the table's lock where the answer is false: the entry may be
  // published, and gone, before this returns.
  [[nodiscard]] bool may_publish(RangeEntry& entry,
                                 void (*waits)(RangeEntry& entry) noexcept = nullptr) noexcept;

  // Takes an entry out of the line; false if it has been started. Those that it held back are
  // started, and are for the caller to call: *started, a chain for call_granted().
  bool withdraw(RangeEntry& entry, RangeEntry** started) noexcept;
  static void call_granted(RangeEntry* started) noexcept;
  static void call_publishable(RangeEntry* ready) noexcept;

  BasicLeafLock<Concurrency> lock;
  RangeEntry* active = nullptr;         // Doubly linked, no order.
  RangeEntry* waiting_first = nullptr;  // Oldest first.
  RangeEntry* waiting_last = nullptr;
  std::uint64_t active_count = 0;
  std::uint64_t excluding_count = 0;  // Active entries of a mode that excludes others.
  std::uint64_t passing_count = 0;    // Active entries that let reads pass.
  std::uint64_t extending_count = 0;  // Entries that extend the file, active or in line.
  std::uint64_t extending_end = 0;    // Where the farthest of them ends.
  std::uint64_t orders = 0;

 protected:
  // With the lock held:
  void activate(RangeEntry& entry) noexcept;
  void deactivate(RangeEntry& entry) noexcept;
  void put_in_line(RangeEntry& entry) noexcept;
  void take_out_of_line(RangeEntry& entry) noexcept;
  // Those in line that nothing holds back any more, in their order.
  [[nodiscard]] RangeEntry* start_unblocked() noexcept;
  void begin_extending(RangeEntry& entry) noexcept;
  // For `entry`, which is about to enter.
  [[nodiscard]] std::uint64_t end_below(const RangeEntry& entry) const noexcept;
  // Returns those that may be published now, through publishable_next.
  [[nodiscard]] RangeEntry* end_extending(RangeEntry& entry, bool failed) noexcept;
  [[nodiscard]] bool publishes_before(const RangeEntry& other,
                                      const RangeEntry& entry) const noexcept {
    return other.extending && other.order < entry.order && other.offset < entry.offset;
  }
  [[nodiscard]] bool awaits_others(const RangeEntry& entry) const noexcept;
  // By an active entry, or by one in line before `up_to`.
  [[nodiscard]] bool held_back(const RangeEntry& entry, const RangeEntry* up_to) const noexcept;
};

template <typename Concurrency>
void RangeTable<Concurrency>::activate(RangeEntry& entry) noexcept {
  entry.previous = nullptr;
  entry.next = active;
  if (active != nullptr) active->previous = &entry;
  active = &entry;
  ++active_count;
  if (excludes_others(entry.mode)) ++excluding_count;
  if (entry.lets_reads_pass) ++passing_count;
}

template <typename Concurrency>
void RangeTable<Concurrency>::deactivate(RangeEntry& entry) noexcept {
  (entry.previous != nullptr ? entry.previous->next : active) = entry.next;
  if (entry.next != nullptr) entry.next->previous = entry.previous;
  --active_count;
  if (excludes_others(entry.mode)) --excluding_count;
  if (entry.lets_reads_pass) --passing_count;
}

template <typename Concurrency>
void RangeTable<Concurrency>::put_in_line(RangeEntry& entry) noexcept {
  entry.next = nullptr;
  entry.previous = waiting_last;
  (waiting_last != nullptr ? waiting_last->next : waiting_first) = &entry;
  waiting_last = &entry;
}

template <typename Concurrency>
void RangeTable<Concurrency>::take_out_of_line(RangeEntry& entry) noexcept {
  (entry.previous != nullptr ? entry.previous->next : waiting_first) = entry.next;
  (entry.next != nullptr ? entry.next->previous : waiting_last) = entry.previous;
}

template <typename Concurrency>
bool RangeTable<Concurrency>::held_back(const RangeEntry& entry,
                                        const RangeEntry* up_to) const noexcept {
  if (excluding_count != 0 || excludes_others(entry.mode)) {
    for (const RangeEntry* other = active; other != nullptr; other = other->next) {
      if (ranges_conflict(entry, *other)) return true;
    }
  }
  if (passing_count != 0 && entry.mode == RangeMode::read) return false;
  if (planted(PlantedBug::range_newcomers_pass_the_line)) return false;
  for (const RangeEntry* other = waiting_first; other != up_to; other = other->next) {
    if (ranges_conflict(entry, *other)) return true;
  }
  return false;
}

template <typename Concurrency>
typename RangeTable<Concurrency>::Entered RangeTable<Concurrency>::enter(RangeEntry& entry,
                                                                         bool nowait) noexcept {
  lock.lock();
  if (entry.place != nullptr && !entry.place(entry, extending_count != 0 ? extending_end : 0))
      [[unlikely]] {
    lock.unlock();
    return Entered::no_place;
  }
  if (entry.extending) entry.below_end = end_below(entry);
  if (!held_back(entry, nullptr)) [[likely]] {
    activate(entry);
    if (entry.extending) begin_extending(entry);
    lock.unlock();
    return Entered::granted;
  }
  if (nowait) {
    entry.extending = false;
    lock.unlock();
    return Entered::refused;
  }
  put_in_line(entry);
  if (entry.extending) begin_extending(entry);
  lock.unlock();
  return Entered::queued;
}

template <typename Concurrency>
void RangeTable<Concurrency>::begin_extending(RangeEntry& entry) noexcept {
  entry.order = ++orders;
  extending_end = extending_count++ == 0 ? entry.file_end : std::max(extending_end, entry.file_end);
}

template <typename Concurrency>
std::uint64_t RangeTable<Concurrency>::end_below(const RangeEntry& entry) const noexcept {
  std::uint64_t end = 0;
  if (extending_count == 0) return end;
  for (const RangeEntry* list : {active, waiting_first}) {
    for (const RangeEntry* other = list; other != nullptr; other = other->next) {
      if (other->extending && other->offset <= entry.offset) end = std::max(end, other->file_end);
    }
  }
  return end;
}

template <typename Concurrency>
bool RangeTable<Concurrency>::awaits_others(const RangeEntry& entry) const noexcept {
  for (const RangeEntry* other = active; other != nullptr; other = other->next) {
    if (publishes_before(*other, entry)) return true;
  }
  for (const RangeEntry* other = waiting_first; other != nullptr; other = other->next) {
    if (publishes_before(*other, entry)) return true;
  }
  return false;
}

template <typename Concurrency>
RangeEntry* RangeTable<Concurrency>::end_extending(RangeEntry& entry, bool failed) noexcept {
  entry.extending = false;
  --extending_count;
  RangeEntry* ready = nullptr;
  for (RangeEntry* list : {active, waiting_first}) {
    for (RangeEntry* other = list; other != nullptr; other = other->next) {
      if (!other->extending || other->order < entry.order || other->offset < entry.offset) continue;
      if (failed && !planted(PlantedBug::range_gap_untold)) other->behind_gap = true;
      if (!other->awaits_publication || awaits_others(*other)) continue;
      other->awaits_publication = false;
      other->publishable_next = ready;
      ready = other;
    }
  }
  return ready;
}

template <typename Concurrency>
bool RangeTable<Concurrency>::may_publish(RangeEntry& entry,
                                          void (*waits)(RangeEntry& entry) noexcept) noexcept {
  lock.lock();
  const bool may = planted(PlantedBug::write_size_out_of_order) || !awaits_others(entry);
  entry.awaits_publication = !may;
  if (!may && waits != nullptr) waits(entry);
  lock.unlock();
  return may;
}

template <typename Concurrency>
void RangeTable<Concurrency>::leave(RangeEntry& entry, bool failed) noexcept {
  lock.lock();
  deactivate(entry);
  RangeEntry* ready = nullptr;
  if (entry.extending) ready = end_extending(entry, failed);
  RangeEntry* started = nullptr;
  if (waiting_first != nullptr && !planted(PlantedBug::range_line_not_started)) [[unlikely]]
    started = start_unblocked();
  lock.unlock();
  call_publishable(ready);
  call_granted(started);
}

template <typename Concurrency>
bool RangeTable<Concurrency>::withdraw(RangeEntry& entry, RangeEntry** started) noexcept {
  lock.lock();
  const RangeEntry* other = waiting_first;
  while (other != nullptr && other != &entry)
    other = other->next;
  RangeEntry* ready = nullptr;
  if (other != nullptr) {
    take_out_of_line(entry);
    if (entry.extending) ready = end_extending(entry, true);
    *started = start_unblocked();
  }
  lock.unlock();
  call_publishable(ready);
  return other != nullptr;
}

// They leave the line for the active list. They are called only after the lock is released, and any
// of them may be gone as soon as it was called: hence a chain of its own, read before the call.
template <typename Concurrency>
RangeEntry* RangeTable<Concurrency>::start_unblocked() noexcept {
  RangeEntry* started = nullptr;
  RangeEntry** started_end = &started;
  for (RangeEntry* candidate = waiting_first; candidate != nullptr;) {
    RangeEntry* next_candidate = candidate->next;
    if (!held_back(*candidate, candidate)) {
      take_out_of_line(*candidate);
      activate(*candidate);
      candidate->granted_next = nullptr;
      *started_end = candidate;
      started_end = &candidate->granted_next;
    }
    candidate = next_candidate;
  }
  return started;
}

template <typename Concurrency>
void RangeTable<Concurrency>::call_granted(RangeEntry* started) noexcept {
  while (started != nullptr) {
    RangeEntry* next_started = started->granted_next;
    started->granted(*started);
    started = next_started;
  }
}

template <typename Concurrency>
void RangeTable<Concurrency>::call_publishable(RangeEntry* ready) noexcept {
  while (ready != nullptr) {
    RangeEntry* next_ready = ready->publishable_next;
    ready->publishable(*ready);
    ready = next_ready;
  }
}

// Compiled once, in inflight.cc.
extern template struct RangeTable<HostConcurrency>;

}  // namespace handback
