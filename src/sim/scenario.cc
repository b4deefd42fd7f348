#include "sim/scenario.h"

#include <malloc.h>

#include <algorithm>
#include <map>

namespace handback::sim {

const char* to_string(Cache cache) noexcept {
  switch (cache) {
    case Cache::write_through:
      return "through";
    case Cache::fua:
      return "fua";
    case Cache::flush_only:
      return "flush";
  }
  return "";
}

SimDeviceOptions device_options(Cache cache, std::uint32_t block_bytes, std::uint64_t size_bytes,
                                std::uint64_t seed) {
  SimDeviceOptions options;
  options.size_bytes = size_bytes;
  options.logical_block_bytes = block_bytes;
  options.volatile_cache = cache != Cache::write_through;
  options.fua = cache == Cache::fua;
  options.seed = seed;
  return options;
}

void keep_freed_memory() noexcept {
  ::mallopt(M_MMAP_THRESHOLD, 16 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

void fill_with_garbage(SimDevice& device) {
  constexpr std::uint32_t nobody = 0xdeadbeef;
  fill_sectors(device.image(), nobody);
}

History history_from(const FoundVolume& found, std::uint32_t last_write_id) {
  History history;
  Names names;
  std::map<std::uint64_t, NodeId> node_of;
  for (const FoundEntry& entry : found.entries) {
    const auto [known, is_new] = node_of.emplace(entry.ino, 0);
    if (is_new) {
      known->second = history.add_node(entry.directory);
      if (const FoundFile* file = entry.directory ? nullptr : found.file(entry.ino);
          file != nullptr) {
        std::vector<Stamp> base;
        base.reserve(file->sectors.size());
        for (const FoundSector& sector : file->sectors)
          base.push_back(sector.decoded.stamp);
        history.set_base_file(known->second, file->size, std::move(base));
      }
    }
    names[entry.path] = known->second;
  }
  history.set_base_names(std::move(names));
  history.continue_write_ids(last_write_id);
  return history;
}

}  // namespace handback::sim
