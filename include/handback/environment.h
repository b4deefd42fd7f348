// Where time and randomness come from. A program leaves this alone; a simulator passes its own, so
// that the same code runs the same way twice.
//
// Owner: the caller; it outlives every issuer that was made with it, and every volume opened
// through one. Thread class: any thread, task and issuer context; nothing here waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace handback {

class Environment {
 public:
  Environment() = default;
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  virtual ~Environment() = default;

  // Nanoseconds since some moment; never goes back, never 0. For intervals.
  [[nodiscard]] virtual std::uint64_t monotonic_ns() noexcept = 0;
  // Nanoseconds since 1970-01-01 UTC. For time stamps.
  [[nodiscard]] virtual std::int64_t realtime_ns() noexcept = 0;
  // Fills `to` with bytes that nobody can have used before: a volume's identity comes from them.
  virtual void random_bytes(std::span<std::byte> to) = 0;
};

// The host's clocks and entropy.
[[nodiscard]] Environment& system_environment() noexcept;

}  // namespace handback
