// The superblock (what the volume is; written at format, twice) and the root (where its newest
// checkpoint and the start of its log are; two that alternate). Pure functions over bytes.
#pragma once

#include <handback/error.h>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "volume/format.h"

namespace handback {

struct Superblock {
  VolumeId volume_id{};
  std::uint16_t version_major = format_version_major;
  std::uint16_t version_minor = format_version_minor;
  std::uint64_t incompatible_features = 0;  // A bit that is not known: it must not be opened.
  std::uint32_t fs_block_bytes = fs_block;
  Layout layout;
  std::int64_t created_ns = 0;
  std::string label;
  std::uint64_t formatted_blocks = 0;  // With feature_grown: total_blocks when it was formatted.
};

struct Root {
  std::uint64_t generation = 0;        // Rises by one with each checkpoint.
  std::uint32_t slot = 0;              // Which checkpoint area.
  std::uint64_t checkpoint_bytes = 0;  // Payload.
  std::uint64_t log_position =
      0;  // Where replay starts: blocks ever written to the log, modulo its size.
  std::uint64_t log_sequence = 0;                     // Number of the record expected there.
  std::uint64_t next_write_id = 1;                    // Writes below it are contained, or void.
  std::uint16_t oldest_minor = format_version_minor;  // The oldest program that wrote this volume.
  // Not on disk: the copy that the next checkpoint writes first, since the other is the good one.
  std::uint32_t write_first = 0;
};

// A block of its own, sealed, for `address`.
void superblock_encode(const Superblock& superblock, std::uint64_t address,
                       std::span<std::byte> block);
// Errors: invalid (not a superblock at all), damaged, version.
[[nodiscard]] Result<Superblock> superblock_decode(std::span<const std::byte> block,
                                                   std::uint64_t address);

void root_encode(const Root& root, const VolumeId& volume_id, std::uint64_t address,
                 std::span<std::byte> block);
[[nodiscard]] Result<Root> root_decode(std::span<const std::byte> block,
                                       const Superblock& superblock, std::uint64_t address);

[[nodiscard]] std::string volume_id_text(const VolumeId& id);

}  // namespace handback
