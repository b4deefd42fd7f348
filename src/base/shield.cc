#include "base/shield.h"

namespace handback {

[[gnu::tls_model("initial-exec")]] constinit thread_local ShieldState shield_state;

void shield_serve_pending() noexcept {
  while (shield_state.depth == 0 && shield_state.pending) {
    shield_state.depth = 1;
    shield_state.pending = false;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (shield_state.serve != nullptr) shield_state.serve();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    // A nudge that came during serve() is pending again: the loop sees it.
    shield_state.depth = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
}

void shield_nudged() noexcept {
  shield_state.pending = true;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (shield_state.depth == 0) shield_serve_pending();
}

}  // namespace handback
