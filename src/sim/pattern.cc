#include "sim/pattern.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "sim/sim_random.h"

namespace handback::sim {
namespace {

constexpr std::size_t words = sector_bytes / sizeof(std::uint64_t);
using Sector = std::array<std::uint64_t, words>;

Sector contents(Stamp stamp) noexcept {
  Sector sector{};
  if (stamp == 0) return sector;
  std::uint64_t word = mix(stamp);
  sector[0] = stamp;
  for (std::size_t i = 1; i < words; ++i) {
    word += 0x9e3779b97f4a7c15ULL;
    sector[i] = word;
  }
  return sector;
}

}  // namespace

void fill_sectors(std::span<std::byte> to, std::uint32_t write_id, std::uint64_t first) noexcept {
  for (std::size_t at = 0; at < to.size(); at += sector_bytes) {
    const Sector sector = contents(stamp_of(write_id, first + at / sector_bytes));
    std::memcpy(to.data() + at, sector.data(), sector_bytes);
  }
}

bool sector_holds(std::span<const std::byte> sector, Stamp stamp) noexcept {
  const Sector expected = contents(stamp);
  return std::memcmp(sector.data(), expected.data(), sector_bytes) == 0;
}

Decoded decode_sector(std::span<const std::byte> sector) noexcept {
  Stamp stamp = 0;
  std::memcpy(&stamp, sector.data(), sizeof stamp);
  return {sector_holds(sector, stamp), stamp};
}

bool sector_is_mix(std::span<const std::byte> sector, Stamp first, Stamp then) noexcept {
  const Sector a = contents(first);
  const Sector b = contents(then);
  Sector is;
  std::memcpy(is.data(), sector.data(), sector_bytes);
  std::size_t same = 0;
  while (same < words && is[same] == a[same])
    ++same;
  return std::equal(is.begin() + static_cast<std::ptrdiff_t>(same), is.end(),
                    b.begin() + static_cast<std::ptrdiff_t>(same));
}

}  // namespace handback::sim
