// A Change is one step of metadata, as it stands in the log: applied in memory when it is made, and
// again from the log when a volume is recovered. Encoding is a pure function over bytes.
#pragma once

#include <handback/volume.h>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace handback {

enum class ChangeKind : std::uint8_t {
  create = 1,       // A new, empty inode under a name.
  remove_name = 2,  // A name goes; with its last name, a file goes.
  rename = 3,       // A name moves, replacing what the new name was.
  set_size = 4,     // The size; blocks entirely beyond it are freed.
  map = 5,          // Blocks of the file lie there, written or unwritten.
  set_mtime = 6,
};

struct Change {
  ChangeKind kind = ChangeKind::create;
  std::uint64_t ino = 0;
  std::uint64_t parent = 0;           // create, remove_name, rename: the directory.
  std::uint64_t parent_to = 0;        // rename.
  std::uint64_t size_bytes = 0;       // set_size.
  std::uint64_t offset = 0;           // map: file block.
  std::uint64_t addr = 0;             // map: device block.
  std::uint32_t count = 0;            // map: blocks.
  bool unwritten = false;             // map.
  FileType type = FileType::regular;  // create.
  std::int64_t mtime_ns = 0;          // All but map.
  std::string_view name;              // Borrowed.
  std::string_view name_to;           // rename. Borrowed.
};

void change_encode(const Change& change, std::vector<std::byte>& out);

// The next change of `in`; false if the bytes are none. Names point into the bytes.
[[nodiscard]] bool change_decode(ByteReader& in, Change* change);

[[nodiscard]] std::string_view to_string(ChangeKind kind) noexcept;

}  // namespace handback
