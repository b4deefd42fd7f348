// Contents that say where they come from: every sector of 512 bytes that the simulator writes names
// the write and its place within it, so that stale, foreign and mixed bytes are known as such.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace handback::sim {

inline constexpr std::uint32_t sector_bytes = 512;

// What a sector holds: 0 for zeros, else write id and place.
using Stamp = std::uint64_t;

[[nodiscard]] constexpr Stamp stamp_of(std::uint32_t write_id, std::uint64_t sector) noexcept {
  return (std::uint64_t{write_id} << 32) | (sector << 8) | 0xb7;
}
[[nodiscard]] constexpr std::uint32_t write_id_of(Stamp stamp) noexcept {
  return static_cast<std::uint32_t>(stamp >> 32);
}

// Fills whole sectors with the contents of a write, from its sector `first` on.
void fill_sectors(std::span<std::byte> to, std::uint32_t write_id,
                  std::uint64_t first = 0) noexcept;

// True if `sector` holds exactly this; 0: zeros.
[[nodiscard]] bool sector_holds(std::span<const std::byte> sector, Stamp stamp) noexcept;

struct Decoded {
  bool whole = false;  // False: neither zeros nor one write's bytes.
  Stamp stamp = 0;
};
[[nodiscard]] Decoded decode_sector(std::span<const std::byte> sector) noexcept;

// True if the sector begins with what `first` would be and goes on as `then` would be, by 8 bytes.
[[nodiscard]] bool sector_is_mix(std::span<const std::byte> sector, Stamp first,
                                 Stamp then) noexcept;

}  // namespace handback::sim
