#include "ring/pinned_regions.h"

#include <algorithm>

namespace handback {

PinnedRegions::PinnedRegions(unsigned slots) {
  regions_.reserve(slots);
  free_slots_.reserve(slots);
  for (unsigned slot = slots; slot > 0; --slot)
    free_slots_.push_back(static_cast<int>(slot - 1));
}

int PinnedRegions::add(std::span<const std::byte> memory) {
  if (free_slots_.empty()) return none;
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  regions_.push_back({reinterpret_cast<std::uintptr_t>(memory.data()), memory.size(), slot});
  return slot;
}

int PinnedRegions::remove(std::span<const std::byte> memory) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  const auto found = std::find_if(regions_.begin(), regions_.end(), [&](const Region& region) {
    return region.begin == begin && region.length_bytes == memory.size();
  });
  if (found == regions_.end()) return none;
  const int slot = found->slot;
  regions_.erase(found);
  free_slots_.push_back(slot);
  return slot;
}

int PinnedRegions::search(std::uintptr_t begin, std::size_t length_bytes) noexcept {
  for (std::size_t i = 0; i < regions_.size(); ++i) {
    if (!regions_[i].holds(begin, length_bytes)) continue;
    last_hit_ = i;
    return regions_[i].slot;
  }
  return none;
}

}  // namespace handback
