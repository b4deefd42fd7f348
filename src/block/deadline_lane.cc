#include "block/deadline_lane.h"

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "base/assert.h"
#include "base/planted_bug.h"

namespace handback {
namespace {

constexpr std::uint64_t ns_per_s = 1'000'000'000;
constexpr std::uint64_t ns_per_ms = 1'000'000;

std::uint64_t to_ns(const timespec& time) noexcept {
  return static_cast<std::uint64_t>(time.tv_sec) * ns_per_s +
         static_cast<std::uint64_t>(time.tv_nsec);
}

std::uint64_t coarse_clock(void*) noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return to_ns(now);
}

// How much later than it says it may be.
std::uint64_t coarse_clock_error_ns() noexcept {
  timespec resolution{};
  ::clock_getres(CLOCK_MONOTONIC_COARSE, &resolution);
  return to_ns(resolution);
}

}  // namespace

DeadlineRule::DeadlineRule(const DeadlineOptions& options) noexcept
    : clock(options.clock != nullptr ? options.clock : &coarse_clock),
      clock_context(options.clock_context) {
  HB_ASSERT(options.deadline_ms > 0, "a deadline is at least 1 ms");
  const std::uint64_t error_ns = options.clock != nullptr ? 0 : coarse_clock_error_ns();
  const std::uint64_t deadline_ns = options.deadline_ms * ns_per_ms + error_ns;
  tick_ns = (deadline_ns + deadline_ticks - 1) / deadline_ticks;
}

void DeadlineLane::refuse(Bio* chain, IoResult result) noexcept {
  while (chain != nullptr) {
    Bio& bio = *chain;
    chain = bio.next;
    refuse_one(bio, result);
  }
}

void DeadlineLane::refuse_one(Bio& bio, IoResult result) noexcept {
  bio.result = result;
  refused_.push(bio);
}

IoResult DeadlineLane::no_memory() noexcept {
  return IoResult::host_failure(ENOMEM);
}

// True for one of the two that want the shadow: the answer and the deadline.
bool DeadlineLane::claim(Shadow& shadow, ShadowState as) noexcept {
  ShadowState expected = ShadowState::in_flight;
  if (planted(PlantedBug::deadline_claimed_twice)) {
    shadow.state.store(as, std::memory_order_release);
    return true;
  }
  return shadow.state.compare_exchange_strong(expected, as, std::memory_order_acq_rel,
                                              std::memory_order_acquire);
}

// The end of every shadow. Nothing of the lane is touched after the caller's bio was ended, or
// after overdue_ was counted down: the lane may be gone then.
void DeadlineLane::answered(Bio& bio) noexcept {
  auto& shadow = static_cast<Shadow&>(bio);
  auto& lane = *static_cast<DeadlineLane*>(bio.private_);
  if (thread_token() == lane.owner_) [[likely]] {
    // Deadlines are claimed on this thread, too: no race.
    const ShadowState state = shadow.state.load(std::memory_order_relaxed);
    if (state != ShadowState::in_flight) [[unlikely]] {
      HB_ASSERT(state == ShadowState::late, "a device ends each bio once");
      lane.answered_late(shadow, true);
      return;
    }
    Bio& original = *shadow.original;
    original.result = shadow.result;
    shadow.state.store(ShadowState::free, std::memory_order_relaxed);
    lane.pool_.give_back(shadow);
    ++lane.ended_here_;
    original.end_io(original);
    return;
  }
  if (!claim(shadow, ShadowState::free)) [[unlikely]] {
    HB_ASSERT(shadow.state.load(std::memory_order_relaxed) == ShadowState::late,
              "a device ends each bio once");
    lane.answered_late(shadow, false);
    return;
  }
  Bio& original = *shadow.original;
  original.result = shadow.result;
  lane.pool_.give_back_from_elsewhere(shadow);
  lane.ended_elsewhere_.fetch_add(1, std::memory_order_release);
  original.end_io(original);
}

void DeadlineLane::answered_late(Shadow& shadow, bool here) noexcept {
  shadow.state.store(ShadowState::free, std::memory_order_relaxed);
  if (here) {
    ++late_answers_;
    pool_.give_back(shadow);
  } else {
    pool_.give_back_from_elsewhere(shadow);
  }
  overdue_.fetch_sub(1, std::memory_order_release);
}

unsigned DeadlineLane::look_at_clock() noexcept {
  const std::uint64_t now = rule_.now();
  if (now < next_tick_ns_) [[likely]]
    return 0;
  next_tick_ns_ = now + rule_.tick_ns;
  unsigned ended = 0;
  // An answer that is here is not late, however long this thread was away.
  while (const unsigned answers = inner_->poll())
    ended += answers - take_late_answers();
  if (in_flight() != 0) ended += grow_older();
  return ended;
}

// Ages count looks, not time alone: a process that was stopped, and its device with it, has not
// been let down.
unsigned DeadlineLane::grow_older() noexcept {
  unsigned ended = 0;
  pool_.for_each([&](Shadow& shadow) {
    if (shadow.state.load(std::memory_order_relaxed) != ShadowState::in_flight) return;
    if (planted(PlantedBug::deadline_never_fires)) return;
    if (++shadow.age > deadline_ticks && end_late(shadow)) ++ended;
  });
  return ended;
}

bool DeadlineLane::end_late(Shadow& shadow) noexcept {
  // Before the claim: the answer may come right after it.
  overdue_.fetch_add(1, std::memory_order_relaxed);
  if (!claim(shadow, ShadowState::late)) {
    overdue_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  // The late answer does not touch `original`.
  Bio& original = *shadow.original;
  ++ended_here_;
  // Before the end: who has seen one bio time out sees no later one succeed.
  rule_.poisoned.store(!planted(PlantedBug::deadline_does_not_poison), std::memory_order_release);
  original.result = IoResult::failure(Errc::timed_out, IoDetail::missed_deadline);
  original.end_io(original);
  return true;
}

std::int64_t DeadlineLane::bounded(std::int64_t timeout_ns) const noexcept {
  if (has_refused()) return 0;
  if (timeout_ns == 0 || in_flight() == 0) return timeout_ns;
  const std::uint64_t now = rule_.now();
  const auto left = static_cast<std::int64_t>(next_tick_ns_ > now ? next_tick_ns_ - now : 0);
  return timeout_ns < 0 ? left : std::min(timeout_ns, left);
}

}  // namespace handback
