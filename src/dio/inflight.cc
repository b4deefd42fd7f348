#include "dio/inflight.h"

#include <limits>

#include "base/assert.h"
#include "base/context.h"
#include "dio/trace_points.h"
#include "issuer/issuer_impl.h"

namespace handback {

template struct RangeTable<HostConcurrency>;

bool DioInflight::Impl::stands_in_line(const RangeEntry& entry) noexcept {
  lock.lock();
  const RangeEntry* other = waiting_first;
  while (other != nullptr && other != &entry)
    other = other->next;
  lock.unlock();
  return other != nullptr;
}

bool DioInflight::Impl::anyone_in_line() noexcept {
  lock.lock();
  const bool anyone = waiting_first != nullptr;
  lock.unlock();
  return anyone;
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
                          std::uint64_t length, LockRank rank)
    : inflight_(inflight), rank_(rank), state_(std::make_unique<State>()) {
  check_may_drain();
  rank_taken(rank);
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
  rank_released(rank_);
  inflight_.impl_->leave(state_->entry);
}

}  // namespace handback
