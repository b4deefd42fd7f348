// A checkpoint's payload: all metadata as one run of bytes. Pure functions over bytes.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "volume/metadata.h"

namespace handback {

// What a checkpoint has of an inode itself; its extents or its entries follow.
struct SnapshotInode {
  std::uint64_t ino = 0;
  FileType type = FileType::regular;
  std::uint32_t nlink = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
  std::uint32_t extent_count = 0;
  std::uint32_t entry_count = 0;
};
[[nodiscard]] SnapshotInode snapshot_inode(const Inode& inode);

// The parts of a payload, byte for byte.
void snapshot_put_head(ByteWriter& out, std::uint64_t next_ino, std::uint64_t inode_count);
void snapshot_put_inode(ByteWriter& out, const SnapshotInode& inode);
void snapshot_put_extent(ByteWriter& out, std::uint64_t offset, const Extent& extent);
void snapshot_put_entry(ByteWriter& out, std::string_view name, std::uint64_t ino);

// Exactly metadata.snapshot_bytes() long.
[[nodiscard]] std::vector<std::byte> snapshot_encode(const Metadata& metadata);

// Of a volume with data checksums, behind that: the checksum pages that are stale, by rising
// number.
void snapshot_put_stale(std::vector<std::byte>& payload, std::span<const std::uint64_t> pages);

// Fills an empty Metadata, and, of a volume with that many checksum pages (0: it has none), *stale.
// Returns what is wrong, with the byte where it was noticed, or an empty string. Checks what can be
// checked entry by entry; that all of it fits together is for the loader.
[[nodiscard]] std::string snapshot_decode(std::span<const std::byte> payload, Metadata* metadata,
                                          std::uint64_t checksum_pages = 0,
                                          std::vector<std::uint64_t>* stale = nullptr);

}  // namespace handback
