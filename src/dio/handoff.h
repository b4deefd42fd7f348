// Two parties meet once: a call that returns, and the continuation that it started. Either may come
// first, on different threads; whoever comes second goes on.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/concurrency.h"
#include "base/planted_bug.h"

namespace handback {

template <typename Concurrency = HostConcurrency>
class Handoff {
 public:
  // Before the call.
  void begin() noexcept { state_.store(State::running, std::memory_order_relaxed); }

  // The call has returned. True if the continuation had ended before: the caller goes on, and sees
  // what it left. Else nothing of this may be touched any more.
  [[nodiscard]] bool returned_second() noexcept {
    return state_.exchange(State::returned, std::memory_order_acq_rel) == State::ended &&
           !planted(PlantedBug::handoff_lost);
  }

  // The continuation has ended; the same from its side.
  [[nodiscard]] bool ended_second() noexcept {
    return state_.exchange(State::ended, std::memory_order_acq_rel) != State::running;
  }

 private:
  enum class State : std::uint8_t { running, returned, ended };
  typename Concurrency::template Atomic<State> state_{State::running};
};

}  // namespace handback
