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
  // Called without the lock held once an entry that stood in line may start. Any context, device
  // included.
  void (*granted)(RangeEntry& entry) noexcept = nullptr;
  void* owner = nullptr;

  RangeEntry* previous = nullptr;
  RangeEntry* next = nullptr;
  RangeEntry* granted_next = nullptr;  // Of those that leave() is about to call.
};

// Both entries' ranges overlap and their modes exclude each other.
[[nodiscard]] bool ranges_conflict(const RangeEntry& a, const RangeEntry& b) noexcept;

struct DioInflight::Impl {
  enum class Entered : std::uint8_t { granted, queued, refused };

  // Starts the entry, or puts it in line behind whatever conflicts (refuses it, with nowait).
  // First come, first served: a newcomer also waits for those in line that it conflicts with, so
  // that a drain cannot be starved by new requests.
  Entered enter(RangeEntry& entry, bool nowait) noexcept;

  // For tests of what went wrong elsewhere.
  [[nodiscard]] bool stands_in_line(const RangeEntry& entry) noexcept;

  // Takes a started entry out and starts those in line that nothing holds back any more.
  void leave(RangeEntry& entry) noexcept;

  LeafLock lock;
  RangeEntry* active = nullptr;         // Doubly linked, no order.
  RangeEntry* waiting_first = nullptr;  // Oldest first.
  RangeEntry* waiting_last = nullptr;
  std::uint64_t active_count = 0;
  std::uint64_t excluding_count = 0;  // Active entries of a mode that excludes others.

 private:
  void activate(RangeEntry& entry) noexcept;
  [[nodiscard]] bool held_back(const RangeEntry& entry, const RangeEntry* up_to) const noexcept;
};

// For rooms above that put entries of their own into the table.
[[nodiscard]] DioInflight::Impl& dio_inflight_impl(DioInflight& inflight) noexcept;

}  // namespace handback
