// Mixing of numbers, the same everywhere.
#pragma once

#include <cstdint>

namespace handback::sim {

[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t value) noexcept {
  value += 0x9e3779b97f4a7c15ULL;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t first, std::uint64_t second) noexcept {
  return mix(mix(first) ^ second);
}

}  // namespace handback::sim
