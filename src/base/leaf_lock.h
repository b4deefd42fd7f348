// A lock for a few loads and stores that may be taken in device context.
//
// It is the last lock of any path: nothing is locked, allocated, submitted or called under it, so a
// holder always lets go within nanoseconds unless it is preempted; then waiters sleep instead of
// spinning.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/context.h"
#include "base/shield.h"

namespace handback {

class LeafLock {
 public:
  LeafLock() = default;
  LeafLock(const LeafLock&) = delete;
  LeafLock& operator=(const LeafLock&) = delete;

  // The holder shields itself: a nudge served in between could want the same lock.
  void lock() noexcept {
    shield_raise();
#ifndef NDEBUG
    rank_taken(LockRank::leaf);
#endif
    std::uint32_t expected = free_;
    if (state_.compare_exchange_strong(expected, held_, std::memory_order_acquire)) [[likely]]
      return;
    lock_contended();
  }

  void unlock() noexcept {
    if (state_.exchange(free_, std::memory_order_release) == contended_) [[unlikely]]
      state_.notify_one();
#ifndef NDEBUG
    rank_released(LockRank::leaf);
#endif
    shield_lower();
  }

 private:
  void lock_contended() noexcept {
    for (int spin = 0; spin < 64; ++spin) {
      std::uint32_t expected = free_;
      if (state_.compare_exchange_weak(expected, held_, std::memory_order_acquire)) return;
    }
    while (state_.exchange(contended_, std::memory_order_acquire) != free_) {
      state_.wait(contended_, std::memory_order_relaxed);
    }
  }

  static constexpr std::uint32_t free_ = 0;
  static constexpr std::uint32_t held_ = 1;
  static constexpr std::uint32_t contended_ = 2;
  std::atomic<std::uint32_t> state_{free_};
};

}  // namespace handback
