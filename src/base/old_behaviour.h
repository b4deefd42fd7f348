// Switches for tests: each brings back one thing that the kernel's version of this system did, to
// show that the test of it can fail. Nobody else sets them.
#pragma once

#include <atomic>
#include <cstdint>

namespace handback {

enum class OldBehaviour : std::uint8_t {
  none,
  wait_runs_nothing,      // A waiting thread reaps, but settles nobody's handed-back work.
  wait_runs_own,          // It settles its own, and adopts nothing.
  deliver_while_waiting,  // It also calls its own callbacks.
  clone_inherits,         // A cloned request keeps DIO_DEFER.
  error_inline,           // Errors are settled where the last bio ended.
  slot_stays,             // A reused request keeps its slot.
  sleep_without_look,     // An issuer that is about to sleep does not look at its inboxes again.
  gate_blocks,  // A request that a freeze keeps out blocks its submitter, and waits settle nothing.
};

inline std::atomic<OldBehaviour> old_behaviour{OldBehaviour::none};

[[nodiscard]] inline bool behaves_as_before(OldBehaviour what) noexcept {
  return old_behaviour.load(std::memory_order_relaxed) == what;
}

}  // namespace handback
