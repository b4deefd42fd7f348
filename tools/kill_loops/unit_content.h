// The bytes of one unit: who wrote it, where, which version, and a pattern that depends on all
// three, so that torn, misplaced and foreign bytes are told from each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace tool::kill_loops {

struct UnitMark {
  std::uint32_t id = 0;
  std::uint32_t unit = 0;
  std::uint64_t version = 0;
};

inline void fill_unit(std::span<std::byte> to, const UnitMark& mark) noexcept {
  std::uint64_t state = (std::uint64_t{mark.id} << 32 | mark.unit) * 0x9e3779b97f4a7c15U +
                        mark.version * 0xd1342543de82ef95U + 1;
  std::memcpy(to.data(), &mark, sizeof mark);
  for (std::size_t at = sizeof mark; at + 8 <= to.size(); at += 8) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    const std::uint64_t word = state * 0x2545f4914f6cdd1dU;
    std::memcpy(to.data() + at, &word, sizeof word);
  }
}

[[nodiscard]] inline bool is_zero(std::span<const std::byte> bytes) noexcept {
  for (const std::byte byte : bytes) {
    if (byte != std::byte{0}) return false;
  }
  return true;
}

// The mark of a unit that is whole; nothing if its bytes are not what the mark says. `scratch` has
// the unit's size.
[[nodiscard]] inline std::optional<UnitMark> mark_of(std::span<const std::byte> bytes,
                                                     std::span<std::byte> scratch) noexcept {
  UnitMark mark;
  std::memcpy(&mark, bytes.data(), sizeof mark);
  fill_unit(scratch, mark);
  if (std::memcmp(bytes.data(), scratch.data(), bytes.size()) != 0) return std::nullopt;
  return mark;
}

}  // namespace tool::kill_loops
