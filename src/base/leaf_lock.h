// A lock for a few loads and stores that may be taken in device context.
//
// It is the last lock of any path (but for InLineList, which takes a line's own lock under its
// own): nothing is allocated, submitted or called under it, so a holder always lets go within
// nanoseconds unless it is preempted; then waiters sleep instead of spinning.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/concurrency.h"
#include "base/context.h"
#include "base/planted_bug.h"
#include "base/shield.h"

namespace handback {

template <typename Concurrency>
class BasicLeafLock {
 public:
  BasicLeafLock() = default;
  BasicLeafLock(const BasicLeafLock&) = delete;
  BasicLeafLock& operator=(const BasicLeafLock&) = delete;

  // The holder shields itself: a nudge served in between could want the same lock.
  void lock() noexcept {
    shield_raise();
    if constexpr (Concurrency::leaf_rank_checked) rank_taken(LockRank::leaf);
    std::uint32_t expected = free_;
    if (state_.compare_exchange_strong(expected, held_, std::memory_order_acquire)) [[likely]]
      return;
    lock_contended();
  }

  void unlock() noexcept {
    if (state_.exchange(free_, std::memory_order_release) == contended_ &&
        !planted(PlantedBug::leaf_lock_forgets_waiters)) [[unlikely]]
      state_.notify_one();
    if constexpr (Concurrency::leaf_rank_checked) rank_released(LockRank::leaf);
    shield_lower();
  }

 private:
  void lock_contended() noexcept {
    for (int spin = 0; spin < Concurrency::lock_spins; ++spin) {
      std::uint32_t expected = free_;
      if (state_.compare_exchange_weak(expected, held_, std::memory_order_acquire)) return;
    }
    while (state_.exchange(contended_, std::memory_order_acquire) != free_) {
      state_.wait(contended_, std::memory_order_relaxed);
    }
    if (planted(PlantedBug::leaf_lock_says_uncontended))
      state_.store(held_, std::memory_order_relaxed);
  }

  static constexpr std::uint32_t free_ = 0;
  static constexpr std::uint32_t held_ = 1;
  static constexpr std::uint32_t contended_ = 2;
  typename Concurrency::template Atomic<std::uint32_t> state_{free_};
};

using LeafLock = BasicLeafLock<HostConcurrency>;

}  // namespace handback
