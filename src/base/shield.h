// Keeps a nudge (a signal, issuer/nudge.h) from entering the library where it is in the middle of
// something: raised while this thread is inside the library or holds a leaf lock. A nudge that
// comes meanwhile is remembered and served by whoever lowers the shield.
//
// Everything here belongs to the calling thread and to signal handlers that interrupt it: compiler
// barriers are enough, and nothing is atomic to other threads.
#pragma once

#include <atomic>

namespace handback {

struct ShieldState {
  volatile unsigned depth = 0;
  volatile bool pending = false;
  // What a nudge has to do; set with the thread's first issuer. Runs with the shield raised.
  void (*serve)() noexcept = nullptr;
};

// Initial-exec: a signal handler must not be the one that makes a thread's copy.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ShieldState shield_state;

// Serves nudges until none is left. Requires: depth 0.
void shield_serve_pending() noexcept;

inline void shield_raise() noexcept {
  shield_state.depth = shield_state.depth + 1;
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

inline void shield_lower() noexcept {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const unsigned depth = shield_state.depth - 1;
  shield_state.depth = depth;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (depth == 0 && shield_state.pending) [[unlikely]]
    shield_serve_pending();
}

class ShieldScope {
 public:
  ShieldScope() noexcept { shield_raise(); }
  ShieldScope(const ShieldScope&) = delete;
  ShieldScope& operator=(const ShieldScope&) = delete;
  ~ShieldScope() { shield_lower(); }
};

// Lets nudges in while user code runs, however deep inside the library it was called: it may block
// for as long as it likes.
class ShieldLowered {
 public:
  ShieldLowered() noexcept : depth_(shield_state.depth) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    shield_state.depth = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (shield_state.pending) [[unlikely]]
      shield_serve_pending();
  }
  ShieldLowered(const ShieldLowered&) = delete;
  ShieldLowered& operator=(const ShieldLowered&) = delete;
  ~ShieldLowered() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    shield_state.depth = depth_;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }

 private:
  unsigned depth_;
};

// A nudge has arrived, from a signal handler on this thread.
void shield_nudged() noexcept;

}  // namespace handback
