// The free fs blocks of the data area. In memory only: at open it is what no extent uses.
//
// Thread class: whoever holds the volume's metadata lock.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "volume/extent_map.h"

namespace handback {

class Allocator {
 public:
  // All of [start, end) is free.
  Allocator(std::uint64_t start, std::uint64_t end);

  // All of it but `used`, which lies in it: by rising address, without overlap.
  Allocator(std::uint64_t start, std::uint64_t end, std::span<const BlockRun> used);

  [[nodiscard]] std::uint64_t free_blocks() const noexcept { return free_blocks_; }

  // Takes up to `count` blocks in one run: at `goal` if that is free (so that a file that grows
  // stays in one piece), else from the smallest run that holds them all, else the largest run there
  // is. Empty when nothing is free.
  [[nodiscard]] std::optional<BlockRun> allocate(std::uint64_t count, std::uint64_t goal);

  // Takes exactly this run. False (and nothing changed) if it is not entirely free.
  [[nodiscard]] bool reserve(BlockRun run);

  // Requires: the run is allocated. Aborts if a block of it is free already.
  void release(BlockRun run);

 private:
  using Map = absl::btree_map<std::uint64_t, std::uint64_t, std::less<>,
                              CountedAllocator<std::pair<const std::uint64_t, std::uint64_t>>>;
  using Sizes = absl::btree_set<std::pair<std::uint64_t, std::uint64_t>, std::less<>,
                                CountedAllocator<std::pair<std::uint64_t, std::uint64_t>>>;
  BlockRun take(Map::iterator run, std::uint64_t addr, std::uint64_t count);
  void add(std::uint64_t addr, std::uint64_t count);
  Map::iterator remove(Map::iterator run);

  std::uint64_t start_;
  std::uint64_t end_;
  std::uint64_t free_blocks_ = 0;
  Map by_addr_;     // addr -> count
  Sizes by_count_;  // (count, addr)
};

}  // namespace handback
