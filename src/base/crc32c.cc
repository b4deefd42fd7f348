#include "base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

#include "base/planted_bug.h"

namespace handback {

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed) noexcept {
  std::uint32_t state =
      planted(PlantedBug::crc_forgets_what_came_before) ? ~std::uint32_t{0} : ~seed;
  // ISA-L takes an int length and, by an old signature, a pointer to non-const bytes that it only
  // reads.
  constexpr std::size_t chunk_bytes_max = std::size_t{1} << 30;
  while (!bytes.empty()) {
    const std::size_t chunk = std::min(bytes.size(), chunk_bytes_max);
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
    state = crc32_iscsi(data, static_cast<int>(chunk), state);
    bytes = bytes.subspan(chunk);
  }
  return ~state;
}

}  // namespace handback
