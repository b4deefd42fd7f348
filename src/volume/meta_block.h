// The header that every metadata block and log record starts with. It defeats bit rot (checksum),
// misdirected I/O (own address), blocks of an older volume (volume id) and lost writes (generation,
// sequence).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "volume/format.h"

namespace handback {

struct MetaHeader {
  MetaType type = MetaType::superblock;
  VolumeId volume_id{};
  std::uint64_t address = 0;     // Fs block where it lies.
  std::uint64_t generation = 0;  // Superblock 0; root and checkpoint: theirs; log record: 0.
  std::uint64_t sequence = 0;    // Log record: its number; checkpoint: index of the block; else 0.
  std::uint32_t payload_bytes = 0;
};

// Fills in the header of `blocks` (whose payload is in place, the rest zero) and its checksum.
// Requires: a whole number of fs blocks; payload_bytes fits.
void meta_seal(std::span<std::byte> blocks, const MetaHeader& header) noexcept;

// Why a header is not what was expected.
enum class MetaFault : std::uint8_t {
  none,
  magic,
  type,
  address,
  volume_id,
  length,
  checksum,
};
[[nodiscard]] std::string_view to_string(MetaFault fault) noexcept;

// Reads the header only; says whether magic, type and address are those expected.
[[nodiscard]] MetaFault meta_peek(std::span<const std::byte> block, MetaType type,
                                  std::uint64_t address, MetaHeader* header) noexcept;

// Blocks that a payload of this length takes with its header.
[[nodiscard]] constexpr std::uint64_t meta_blocks(std::uint64_t payload_bytes) noexcept {
  return (meta_header_bytes + payload_bytes + fs_block - 1) / fs_block;
}

// Checks `blocks` completely: header, length, checksum over all of them, and the volume's id if
// given.
[[nodiscard]] MetaFault meta_open(std::span<const std::byte> blocks, MetaType type,
                                  std::uint64_t address, const VolumeId* volume_id,
                                  MetaHeader* header) noexcept;

[[nodiscard]] inline std::span<const std::byte> meta_payload(std::span<const std::byte> blocks,
                                                             const MetaHeader& header) noexcept {
  return blocks.subspan(meta_header_bytes, header.payload_bytes);
}

}  // namespace handback
