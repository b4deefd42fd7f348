// Which memory is registered under which slot, and the slot of a given segment.
//
// Owner: a UringQueue; its thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/planted_bug.h"

namespace handback {

class PinnedRegions {
 public:
  static constexpr int none = -1;

  explicit PinnedRegions(unsigned slots);

  // A free slot, now taken by `memory`; or none. Requires: not empty.
  int add(std::span<const std::byte> memory);
  // The slot that exactly `memory` took, now free; or none.
  int remove(std::span<const std::byte> memory) noexcept;

  // The slot of a region that holds all of the segment, or none.
  [[nodiscard]] int find(const void* data, std::size_t length_bytes) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    if (last_hit_ < regions_.size() && regions_[last_hit_].holds(begin, length_bytes)) [[likely]] {
      return regions_[last_hit_].slot;
    }
    if (regions_.empty()) return none;
    return search(begin, length_bytes);
  }

 private:
  struct Region {
    std::uintptr_t begin;
    std::size_t length_bytes;
    int slot;

    [[nodiscard]] bool holds(std::uintptr_t segment, std::size_t segment_bytes) const noexcept {
      return segment >= begin && segment_bytes <= length_bytes &&
             segment - begin <=
                 length_bytes - (planted(PlantedBug::pinned_region_too_long) ? 0 : segment_bytes);
    }
  };

  int search(std::uintptr_t begin, std::size_t length_bytes) noexcept;

  std::vector<Region> regions_;
  std::vector<int> free_slots_;
  std::size_t last_hit_ = 0;  // Requests tend to come from the same region as the one before.
};

}  // namespace handback
