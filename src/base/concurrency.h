// What code shared between threads uses of the machine, as a policy, so that tests can run the same
// code under a scheduler of their own (base/schedule_explorer.h).
#pragma once

#include <atomic>
#include <thread>

#include "base/context.h"

namespace handback {

// The machine itself: nothing is added to what std::atomic compiles to.
struct HostConcurrency {
  template <typename T>
  using Atomic = std::atomic<T>;

  // Each leaf lock would pay for it.
#ifdef NDEBUG
  static constexpr bool leaf_rank_checked = false;
#else
  static constexpr bool leaf_rank_checked = true;
#endif

  // How often a contended LeafLock tries again before it sleeps.
  static constexpr int lock_spins = 64;

  // Returns once `condition` holds; for what takes a few instructions of another thread.
  template <typename Condition>
  static void yield_until(Condition condition) noexcept {
    while (!condition())
      std::this_thread::yield();
  }

  // Identifies the calling thread; never null, unique among living threads.
  [[nodiscard]] static const void* this_thread() noexcept {
    return thread_token();
  }
};

}  // namespace handback
