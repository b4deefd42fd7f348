// A clock that a test turns. For tests only.
#pragma once

#include <handback/deadline_device.h>

#include <atomic>
#include <cstdint>

namespace handback::testing {

struct FakeClock {
  std::atomic<std::uint64_t> now_ns{1'000'000'000};
  std::atomic<std::uint64_t> step_ns{0};  // What each look turns it on by.

  void turn(std::uint64_t by_ns) { now_ns += by_ns; }

  // A deadline of eight steps of 10 ms.
  [[nodiscard]] DeadlineOptions options() {
    DeadlineOptions options;
    options.deadline_ms = 80;
    options.clock = [](void* context) noexcept -> std::uint64_t {
      auto& clock = *static_cast<FakeClock*>(context);
      return clock.now_ns.fetch_add(clock.step_ns) + clock.step_ns;
    };
    options.clock_context = this;
    return options;
  }
};
inline constexpr std::uint64_t fake_tick_ns = 10'000'000;

}  // namespace handback::testing
