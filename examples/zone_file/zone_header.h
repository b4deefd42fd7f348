// The block that says what is in a zone: the only state of a zone that survives its object.
//
// One logical block at the zone's first byte, rewritten in place: a device does not tear a logical
// block (Geometry::logical_block_bytes), so it holds the old or the new state. All numbers are
// little-endian.
//
//   byte  0  8  magic "HBZONE\0\1"
//         8  8  generation: grows with each reset
//        16  8  bytes of the zone, header included
//        24  8  write pointer: bytes written, from the first byte behind the header
//        32  4  state: 0 open, 1 finished
//        36  4  bytes of the header block
//        40  8  checksum: FNV-1a of the bytes before it
//        48     zeros
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace examples {

struct ZoneHeader {
  std::uint64_t generation = 0;
  std::uint64_t zone_bytes = 0;
  std::uint64_t write_pointer = 0;
  bool finished = false;

  friend bool operator==(const ZoneHeader&, const ZoneHeader&) = default;
};

// Fills all of `block`. Requires: at least 512 bytes.
void encode_zone_header(const ZoneHeader& header, std::span<std::byte> block) noexcept;

// Nothing if the block is no header, a damaged one, or one of a block of another size.
[[nodiscard]] std::optional<ZoneHeader> decode_zone_header(
    std::span<const std::byte> block) noexcept;

}  // namespace examples
