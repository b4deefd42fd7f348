// Whether to look for completions for a while before sleeping, by what lately would have paid.
//
// A thread that sleeps pays for its wake-up, and in a virtual machine for that of its processor:
// tens of microseconds, where a fast device needs ten. Looking costs no more processor time than
// that as long as waits are short; where they are long it is wasted, and given up.
#pragma once

#include <algorithm>
#include <cstdint>

namespace handback {

class BusyWait {
 public:
  // Waits up to that long are worth looking through. 0: none is.
  explicit constexpr BusyWait(std::int64_t worth_ns_max) noexcept : worth_ns_max_(worth_ns_max) {}

  [[nodiscard]] constexpr bool enabled() const noexcept { return worth_ns_max_ > 0; }

  // How long to look before the next sleep; 0: not at all.
  [[nodiscard]] constexpr std::int64_t budget_ns() const noexcept {
    return short_waits_ >= short_waits_needed ? worth_ns_max_ : 0;
  }

  [[nodiscard]] constexpr bool is_short(std::int64_t ns) const noexcept {
    return ns <= worth_ns_max_;
  }

  // How long a wait was in the end, slept or not.
  constexpr void waited(std::int64_t ns) noexcept {
    if (is_short(ns)) {
      short_waits_ = std::min(short_waits_ + 1, short_waits_max);
    } else if (ns <= contended_factor * worth_ns_max_) {
      short_waits_ = std::max(short_waits_ - long_wait_weight, 0);
    } else {
      // Others want this processor, and who looks uses up the time that a sleeper would have saved
      // for when it wakes.
      short_waits_ = 0;
    }
  }

 private:
  static constexpr int short_waits_needed = 4;
  static constexpr int short_waits_max = 8;
  static constexpr int long_wait_weight = 2;
  static constexpr std::int64_t contended_factor = 8;

  std::int64_t worth_ns_max_;
  int short_waits_ = short_waits_needed;
};

}  // namespace handback
