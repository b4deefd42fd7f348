// One file's extents: which fs blocks of the file lie where, and whether they were written.
//
// In memory only, sorted by file block, neighbours that continue each other merged. All units are
// fs blocks. Thread class: whoever holds the inode's map lock.
#pragma once

#include <absl/container/btree_map.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "volume/counted_memory.h"

namespace handback {

struct Extent {
  std::uint64_t addr = 0;  // First block on the device.
  std::uint32_t count = 0;
  bool unwritten = false;

  friend bool operator==(const Extent&, const Extent&) = default;
};

// Blocks on the device, [addr, addr + count).
struct BlockRun {
  std::uint64_t addr = 0;
  std::uint64_t count = 0;

  friend bool operator==(const BlockRun&, const BlockRun&) = default;
};

class ExtentMap {
 public:
  using Map = absl::btree_map<std::uint64_t, Extent, std::less<>,
                              CountedAllocator<std::pair<const std::uint64_t, Extent>>>;

  struct Lookup {
    bool hole = true;
    std::uint64_t offset =
        0;  // First file block of the extent or hole (of a hole: the block asked for).
    std::uint64_t count = 0;  // Blocks from `offset`; of the last hole: up to the largest file.
    Extent extent;            // Not for holes.
  };
  [[nodiscard]] Lookup lookup(std::uint64_t offset) const;

  // Maps [offset, offset + extent.count) to the extent, whatever was there. Blocks that were mapped
  // elsewhere are appended to *freed.
  void insert(std::uint64_t offset, const Extent& extent, std::vector<BlockRun>* freed);

  // Adds an extent behind all others. Filled in that way, the map takes the least memory.
  void append(std::uint64_t offset, const Extent& extent);

  // Makes a hole of [offset, offset + count); what was mapped is appended to *freed.
  void erase(std::uint64_t offset, std::uint64_t count, std::vector<BlockRun>* freed);

  [[nodiscard]] const Map& all() const noexcept { return map_; }
  [[nodiscard]] std::size_t size() const noexcept { return map_.size(); }
  [[nodiscard]] std::uint64_t blocks() const noexcept { return blocks_; }
  [[nodiscard]] std::uint64_t unwritten_blocks() const noexcept { return unwritten_blocks_; }

 private:
  // Removes [offset, end) and calls removed(file offset, extent piece) for each piece that was
  // mapped.
  template <typename Removed>
  void carve(std::uint64_t offset, std::uint64_t end, Removed removed);
  Map::iterator merge_with_next(Map::iterator it);

  Map map_;
  std::uint64_t blocks_ = 0;
  std::uint64_t unwritten_blocks_ = 0;  // Of blocks_.
};

}  // namespace handback
