#include "volume/extent_map.h"

#include <algorithm>
#include <limits>

#include "base/assert.h"
#include "base/planted_bug.h"

namespace handback {
namespace {
// Blocks of the largest file (2^60 bytes).
constexpr std::uint64_t file_blocks_max = std::uint64_t{1} << 48;

constexpr bool continues(std::uint64_t offset, const Extent& first, std::uint64_t next_offset,
                         const Extent& next) {
  return offset + first.count == next_offset &&
         (first.addr + first.count == next.addr ||
          planted(PlantedBug::extents_merge_across_addresses)) &&
         (first.unwritten == next.unwritten || planted(PlantedBug::extents_merge_with_unwritten)) &&
         first.count <= std::numeric_limits<std::uint32_t>::max() - next.count;
}
}  // namespace

ExtentMap::Lookup ExtentMap::lookup(std::uint64_t offset) const {
  auto after = map_.upper_bound(offset);
  if (after != map_.begin()) {
    const auto& [start, extent] = *std::prev(after);
    if (offset - start < extent.count) return {false, start, extent.count, extent};
  }
  const std::uint64_t hole_end =
      after == map_.end() ? std::max(file_blocks_max, offset + 1) : after->first;
  return {true, offset, hole_end - offset, {}};
}

template <typename Removed>
void ExtentMap::carve(std::uint64_t offset, std::uint64_t end, Removed removed) {
  auto it = map_.upper_bound(offset);
  if (it != map_.begin()) {
    const auto previous = std::prev(it);
    if (previous->first + previous->second.count > offset) it = previous;
  }
  while (it != map_.end() && it->first < end) {
    const std::uint64_t start = it->first;
    const Extent whole = it->second;
    const std::uint64_t whole_end = start + whole.count;
    const std::uint64_t cut_start = std::max(start, offset);
    const std::uint64_t cut_end = std::min(whole_end, end);
    blocks_ -= cut_end - cut_start;
    if (whole.unwritten) unwritten_blocks_ -= cut_end - cut_start;
    it = map_.erase(it);
    if (start < cut_start) {
      map_.insert({start, Extent{whole.addr, static_cast<std::uint32_t>(cut_start - start),
                                 whole.unwritten}});
    }
    if (cut_end < whole_end) {
      map_.insert(
          {cut_end, Extent{whole.addr + (cut_end - start),
                           static_cast<std::uint32_t>(whole_end - cut_end), whole.unwritten}});
    }
    removed(cut_start, Extent{whole.addr + (cut_start - start),
                              static_cast<std::uint32_t>(cut_end - cut_start), whole.unwritten});
    // Insertions moved the nodes; go on from the key.
    it = map_.lower_bound(cut_end);
  }
}

ExtentMap::Map::iterator ExtentMap::merge_with_next(Map::iterator it) {
  const auto next = std::next(it);
  if (next == map_.end() || !continues(it->first, it->second, next->first, next->second)) return it;
  const std::uint64_t offset = it->first;
  it->second.count += next->second.count;
  map_.erase(next);
  return map_.find(offset);
}

void ExtentMap::insert(std::uint64_t offset, const Extent& extent, std::vector<BlockRun>* freed) {
  carve(offset, offset + extent.count, [&](std::uint64_t at, const Extent& old) {
    // The same blocks in another state (a conversion) are not freed.
    if (old.addr == extent.addr + (at - offset)) return;
    freed->push_back({old.addr, old.count});
  });
  blocks_ += extent.count;
  if (extent.unwritten) unwritten_blocks_ += extent.count;
  auto it = map_.insert({offset, extent}).first;
  it = merge_with_next(it);
  if (it != map_.begin()) merge_with_next(std::prev(it));
}

void ExtentMap::append(std::uint64_t offset, const Extent& extent) {
  blocks_ += extent.count;
  if (extent.unwritten) unwritten_blocks_ += extent.count;
  if (!map_.empty()) {
    const auto last = std::prev(map_.end());
    HB_ASSERT(last->first + last->second.count <= offset, "extents are appended in their order");
    if (continues(last->first, last->second, offset, extent)) {
      last->second.count += extent.count;
      return;
    }
  }
  map_.insert(map_.end(), {offset, extent});
}

void ExtentMap::erase(std::uint64_t offset, std::uint64_t count, std::vector<BlockRun>* freed) {
  const std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t end = count > limit - offset ? limit : offset + count;
  carve(offset, end, [&](std::uint64_t, const Extent& old) {
    freed->push_back({old.addr, old.count});
  });
}

}  // namespace handback
