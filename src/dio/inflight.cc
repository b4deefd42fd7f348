#include "dio/inflight.h"

#include <limits>

#include "base/assert.h"
#include "base/context.h"
#include "dio/trace_points.h"
#include "issuer/issuer_impl.h"

namespace handback {
namespace {

constexpr bool excludes_others(RangeMode mode) noexcept {
  return mode == RangeMode::write_exclusive || mode == RangeMode::everything;
}

constexpr bool modes_conflict(RangeMode a, RangeMode b) noexcept {
  if (a == RangeMode::everything || b == RangeMode::everything) return true;
  if (a == RangeMode::read || b == RangeMode::read) return false;
  return a == RangeMode::write_exclusive || b == RangeMode::write_exclusive;
}

}  // namespace

bool ranges_conflict(const RangeEntry& a, const RangeEntry& b) noexcept {
  return a.offset < b.end && b.offset < a.end && modes_conflict(a.mode, b.mode);
}

void DioInflight::Impl::activate(RangeEntry& entry) noexcept {
  entry.previous = nullptr;
  entry.next = active;
  if (active != nullptr) active->previous = &entry;
  active = &entry;
  ++active_count;
  if (excludes_others(entry.mode)) ++excluding_count;
}

bool DioInflight::Impl::held_back(const RangeEntry& entry, const RangeEntry* up_to) const noexcept {
  if (excluding_count != 0 || excludes_others(entry.mode)) {
    for (const RangeEntry* other = active; other != nullptr; other = other->next) {
      if (ranges_conflict(entry, *other)) return true;
    }
  }
  for (const RangeEntry* other = waiting_first; other != up_to; other = other->next) {
    if (ranges_conflict(entry, *other)) return true;
  }
  return false;
}

DioInflight::Impl::Entered DioInflight::Impl::enter(RangeEntry& entry, bool nowait) noexcept {
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
  entry.next = nullptr;
  entry.previous = waiting_last;
  (waiting_last != nullptr ? waiting_last->next : waiting_first) = &entry;
  waiting_last = &entry;
  lock.unlock();
  return Entered::queued;
}

bool DioInflight::Impl::stands_in_line(const RangeEntry& entry) noexcept {
  lock.lock();
  const RangeEntry* other = waiting_first;
  while (other != nullptr && other != &entry)
    other = other->next;
  lock.unlock();
  return other != nullptr;
}

void DioInflight::Impl::leave(RangeEntry& entry) noexcept {
  lock.lock();
  (entry.previous != nullptr ? entry.previous->next : active) = entry.next;
  if (entry.next != nullptr) entry.next->previous = entry.previous;
  --active_count;
  if (excludes_others(entry.mode)) --excluding_count;
  if (waiting_first == nullptr) [[likely]] {
    lock.unlock();
    return;
  }
  // Those that start leave the line for the active list. They are called only after the lock is
  // released, and any of them may be gone as soon as it was called: hence its own chain, read
  // before the call.
  RangeEntry* started = nullptr;
  RangeEntry** started_end = &started;
  for (RangeEntry* candidate = waiting_first; candidate != nullptr;) {
    RangeEntry* next_candidate = candidate->next;
    if (!held_back(*candidate, candidate)) {
      (candidate->previous != nullptr ? candidate->previous->next : waiting_first) =
          candidate->next;
      (candidate->next != nullptr ? candidate->next->previous : waiting_last) = candidate->previous;
      activate(*candidate);
      candidate->granted_next = nullptr;
      *started_end = candidate;
      started_end = &candidate->granted_next;
    }
    candidate = next_candidate;
  }
  lock.unlock();
  while (started != nullptr) {
    RangeEntry* next_started = started->granted_next;
    started->granted(*started);
    started = next_started;
  }
}

DioInflight::Impl& dio_inflight_impl(DioInflight& inflight) noexcept {
  return *inflight.impl_;
}

DioInflight::DioInflight() : impl_(std::make_unique<Impl>()) {}

DioInflight::~DioInflight() {
  HB_ASSERT(impl_->active == nullptr && impl_->waiting_first == nullptr,
            "a file goes only when none of its requests is in flight");
}

std::uint64_t DioInflight::count() const noexcept {
  impl_->lock.lock();
  const std::uint64_t count = impl_->active_count;
  impl_->lock.unlock();
  return count;
}

// The grant arrives as work on the drainer's own issuer, never as a flag set from elsewhere: the
// thread that grants must not touch anything of the drainer's after the drainer could have seen it
// and gone.
struct DioInflight::Drain::State : IssuerWork {
  RangeEntry entry;
  Issuer::Impl* issuer = nullptr;
  bool granted = false;
};

DioInflight::Drain::Drain(DioInflight& inflight, Issuer& issuer, std::uint64_t offset,
                          std::uint64_t length)
    : inflight_(inflight), state_(std::make_unique<State>()) {
  check_may_drain();
  rank_taken(LockRank::range);
  State& state = *state_;
  constexpr std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
  state.issuer = &issuer.impl();
  state.entry.offset = offset;
  state.entry.end = length > limit - offset ? limit : offset + length;
  state.entry.mode = RangeMode::everything;
  state.entry.owner = &state;
  state.run = [](IssuerWork& work) noexcept { static_cast<State&>(work).granted = true; };
  state.entry.granted = [](RangeEntry& entry) noexcept {
    auto& waiter = *static_cast<State*>(entry.owner);
    waiter.issuer->notify(waiter);
  };
  const DrainPoint traced(state.entry);
  if (inflight.impl_->enter(state.entry, false) != Impl::Entered::granted)
    issuer.impl().wait_until_helped([&] { return state.granted; });
  traced.granted(state.entry);
}

DioInflight::Drain::~Drain() {
  rank_released(LockRank::range);
  inflight_.impl_->leave(state_->entry);
}

}  // namespace handback
