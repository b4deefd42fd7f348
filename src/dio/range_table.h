// The table of byte ranges in flight on one file: who may start, who stands in line, who leaves.
#pragma once

#include <handback/iomap.h>
#include <cstdint>

#include "base/leaf_lock.h"

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

  RangeEntry* previous = nullptr;
  RangeEntry* next = nullptr;
  RangeEntry* granted_next = nullptr;  // Of those that leave() is about to call.
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
  return a.offset < b.end && b.offset < a.end && modes_conflict(a.mode, b.mode);
}

template <typename Concurrency>
struct RangeTable {
  enum class Entered : std::uint8_t { granted, queued, refused };

  // Starts the entry, or puts it in line behind whatever conflicts (refuses it, with nowait).
  // First come, first served: a newcomer also waits for those in line that it conflicts with, so
  // that a drain cannot be starved by new requests.
  Entered enter(RangeEntry& entry, bool nowait) noexcept;

  // Takes a started entry out and starts those in line that nothing holds back any more.
  void leave(RangeEntry& entry) noexcept;

  // Takes an entry out of the line; false if it has been started. Those that it held back are
  // started, and are for the caller to call: *started, a chain for call_granted().
  bool withdraw(RangeEntry& entry, RangeEntry** started) noexcept;
  static void call_granted(RangeEntry* started) noexcept;

  BasicLeafLock<Concurrency> lock;
  RangeEntry* active = nullptr;         // Doubly linked, no order.
  RangeEntry* waiting_first = nullptr;  // Oldest first.
  RangeEntry* waiting_last = nullptr;
  std::uint64_t active_count = 0;
  std::uint64_t excluding_count = 0;  // Active entries of a mode that excludes others.
  std::uint64_t passing_count = 0;    // Active entries that let reads pass.

 protected:
  // With the lock held:
  void activate(RangeEntry& entry) noexcept;
  void deactivate(RangeEntry& entry) noexcept;
  void put_in_line(RangeEntry& entry) noexcept;
  void take_out_of_line(RangeEntry& entry) noexcept;
  // Those in line that nothing holds back any more, in their order.
  [[nodiscard]] RangeEntry* start_unblocked() noexcept;
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
  for (const RangeEntry* other = waiting_first; other != up_to; other = other->next) {
    if (ranges_conflict(entry, *other)) return true;
  }
  return false;
}

template <typename Concurrency>
typename RangeTable<Concurrency>::Entered RangeTable<Concurrency>::enter(RangeEntry& entry,
                                                                         bool nowait) noexcept {
  lock.lock();
  if (!held_back(entry, nullptr)) [[likely]] {
    activate(entry);
    lock.unlock();
    return Entered::granted;
  }
  if (nowait) {
    lock.unlock();
    return Entered::refused;
  }
  put_in_line(entry);
  lock.unlock();
  return Entered::queued;
}

template <typename Concurrency>
void RangeTable<Concurrency>::leave(RangeEntry& entry) noexcept {
  lock.lock();
  deactivate(entry);
  if (waiting_first == nullptr) [[likely]] {
    lock.unlock();
    return;
  }
  RangeEntry* const started = start_unblocked();
  lock.unlock();
  call_granted(started);
}

template <typename Concurrency>
bool RangeTable<Concurrency>::withdraw(RangeEntry& entry, RangeEntry** started) noexcept {
  lock.lock();
  const RangeEntry* other = waiting_first;
  while (other != nullptr && other != &entry)
    other = other->next;
  if (other != nullptr) {
    take_out_of_line(entry);
    *started = start_unblocked();
  }
  lock.unlock();
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

// Compiled once, in inflight.cc.
extern template struct RangeTable<HostConcurrency>;

}  // namespace handback
