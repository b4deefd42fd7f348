// A Change is one step of metadata, as it stands in the log: applied in memory when it is made, and
// again from the log when a volume is recovered. Encoding is a pure function over bytes.
#pragma once

#include <handback/volume.h>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "volume/extent_map.h"

namespace handback {

enum class ChangeKind : std::uint8_t {
  create = 1,       // A new, empty inode under a name.
  remove_name = 2,  // A name goes; with its last name, a file goes.
  rename = 3,       // A name moves, replacing what the new name was.
  set_size = 4,     // The size; blocks entirely beyond it are freed.
  map = 5,          // Blocks of the file lie there, written or unwritten.
  set_mtime = 6,
  write = 7,       // A write under way: blocks and size, valid only if the data checks out.
  unmap = 9,       // A hole; its blocks are freed.
  grow = 10,       // The size is at least this: a write was published.
  link = 8,        // One more name for a file.
  overwrite = 11,  // Data is about to be overwritten: a checksum page is stale.
};

// Of ChangeKind::write: bytes on the device that the write fills, and what their CRC-32C will be.
struct WritePiece {
  std::uint64_t offset = 0;  // Bytes in the file.
  std::uint64_t addr = 0;    // Byte on the device.
  std::uint32_t length = 0;  // Bytes.
  std::uint32_t crc = 0;
  bool maps = false;  // Whole blocks, which the write maps. Else they were mapped before.
};
inline constexpr std::size_t write_piece_bytes = 25;

struct Change {
  ChangeKind kind = ChangeKind::create;
  std::uint64_t ino = 0;
  std::uint64_t parent = 0;            // create, remove_name, rename, link: the directory.
  std::uint64_t parent_to = 0;         // rename.
  std::uint64_t size_bytes = 0;        // set_size.
  std::uint64_t offset = 0;            // map, unmap: file block.
  std::uint64_t addr = 0;              // map: device block.
  std::uint32_t count = 0;             // map: blocks.
  std::uint64_t block_count = 0;       // unmap: blocks.
  std::uint64_t page = 0;              // overwrite: of the checksum area, from 0.
  bool unwritten = false;              // map.
  FileType type = FileType::regular;   // create.
  std::int64_t mtime_ns = 0;           // All but map and unmap.
  std::uint64_t write_id = 0;          // write: rises by one with each.
  std::uint64_t required_end = 0;      // write: void unless the file is at least this long.
  std::uint64_t end = 0;               // write: bytes; the file is at least this long after it.
  std::span<const WritePiece> pieces;  // write, to encode. Borrowed.
  std::span<const std::byte> encoded_pieces;  // write, as decoded. Borrowed.
  std::string_view name;                      // Borrowed.
  std::string_view name_to;                   // rename. Borrowed.
};

[[nodiscard]] inline Change map_change(std::uint64_t ino, std::uint64_t offset,
                                       const Extent& extent) {
  Change change;
  change.kind = ChangeKind::map;
  change.ino = ino;
  change.offset = offset;
  change.addr = extent.addr;
  change.count = extent.count;
  change.unwritten = extent.unwritten;
  return change;
}

void change_encode(const Change& change, std::vector<std::byte>& out);

// The next change of `in`; false if the bytes are none. Names point into the bytes.
[[nodiscard]] bool change_decode(ByteReader& in, Change* change);

// Of a decoded write.
[[nodiscard]] std::vector<WritePiece> change_pieces(const Change& change);

[[nodiscard]] std::string_view to_string(ChangeKind kind) noexcept;

}  // namespace handback
