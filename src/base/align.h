// Rounding to powers of two.
#pragma once

#include <cstdint>

namespace handback {

[[nodiscard]] constexpr std::uint64_t round_down(std::uint64_t value,
                                                 std::uint64_t power_of_two) noexcept {
  return value & ~(power_of_two - 1);
}
// Requires: no overflow.
[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t value,
                                               std::uint64_t power_of_two) noexcept {
  return round_down(value + power_of_two - 1, power_of_two);
}
[[nodiscard]] constexpr bool is_aligned(std::uint64_t value, std::uint64_t power_of_two) noexcept {
  return (value & (power_of_two - 1)) == 0;
}

}  // namespace handback
