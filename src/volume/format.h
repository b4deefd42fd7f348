// The on-disk format, version 2.0: constants and layout only. docs/format.md is its specification
// and names the same structures and fields.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace handback {

inline constexpr std::uint32_t fs_block = 4096;          // Bytes.
inline constexpr std::uint32_t meta_magic = 0x626d4248;  // "HBmb", little-endian.
inline constexpr std::size_t meta_header_bytes = 64;
inline constexpr std::size_t meta_payload_bytes_max = fs_block - meta_header_bytes;

inline constexpr std::uint16_t format_version_major = 2;  // Must match.
inline constexpr std::uint16_t format_version_minor =
    0;  // May be newer: readers ignore what they do not know.

// Bits of incompatible_features that this program knows.
inline constexpr std::uint64_t feature_grown = 1;  // The areas are those of a smaller volume.
inline constexpr std::uint64_t feature_data_checksums = 2;  // There is a checksum area.
inline constexpr std::uint64_t features_known = feature_grown | feature_data_checksums;

enum class MetaType : std::uint16_t {
  superblock = 1,
  root = 2,
  checkpoint = 3,
  log_record = 4,
  checksum_page = 5,
};

// Checksums of data blocks, four bytes each, that one page of the checksum area holds.
inline constexpr std::uint64_t checksums_per_page = meta_payload_bytes_max / sizeof(std::uint32_t);

using VolumeId = std::array<std::byte, 16>;

inline constexpr std::uint64_t superblock_block = 0;
inline constexpr std::array<std::uint64_t, 2> root_blocks{1, 2};
inline constexpr std::uint64_t log_first_block = 3;

// Far above what is ever written: bounds the work for a log of headers that claim all of it.
inline constexpr std::uint64_t log_record_blocks_max = 32;

inline constexpr std::uint64_t root_ino = 1;
inline constexpr std::uint64_t ino_max = std::uint64_t{1} << 63;  // One past the largest.

// Where things lie, in fs blocks. Computed once at format; afterwards the superblock says.
struct Layout {
  std::uint64_t total_blocks = 0;
  std::uint64_t log_start = 0;
  std::uint64_t log_blocks = 0;
  std::array<std::uint64_t, 2> slot_start{};  // The two checkpoint areas.
  std::uint64_t slot_blocks = 0;              // Of each.
  std::uint64_t checksum_start = 0;           // With data checksums only: their area.
  std::uint64_t checksum_pages = 0;           // Of it, a block each.
  std::uint64_t data_start = 0;
  std::uint64_t data_end = 0;           // One past the last data block.
  std::uint64_t backup_superblock = 0;  // The last block.

  friend bool operator==(const Layout&, const Layout&) = default;
};

[[nodiscard]] Layout layout_for(std::uint64_t total_blocks, bool data_checksums = false) noexcept;
// Of a volume that was formatted with `formatted_blocks` and has grown since: the log and the
// checkpoint areas stay, the data area becomes longer.
[[nodiscard]] Layout layout_grown(std::uint64_t formatted_blocks,
                                  std::uint64_t total_blocks) noexcept;

// Encoded sizes within a checkpoint, for the account of the checkpoint area.
inline constexpr std::uint64_t snapshot_header_bytes = 16;
inline constexpr std::uint64_t snapshot_inode_bytes = 34;
inline constexpr std::uint64_t snapshot_extent_bytes = 20;
inline constexpr std::uint64_t snapshot_unwritten_bit = std::uint64_t{1} << 63;  // Of `addr`.
inline constexpr std::uint64_t snapshot_directory_bytes = 4;  // A directory's count of entries.
inline constexpr std::uint64_t snapshot_entry_bytes = 10;     // Plus the name.
// The list of stale checksum pages at its end, at most.
[[nodiscard]] constexpr std::uint64_t stale_list_bytes_max(const Layout& layout) noexcept {
  return layout.checksum_pages == 0 ? 0 : (1 + layout.checksum_pages) * sizeof(std::uint64_t);
}
// What a checkpoint area has room for beside that.
[[nodiscard]] constexpr std::uint64_t snapshot_bytes_max(const Layout& layout) noexcept {
  return layout.slot_blocks * meta_payload_bytes_max - stale_list_bytes_max(layout);
}

}  // namespace handback
