#include "sim/scenario.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/planted_bug.h"

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

void prepare_process() noexcept {
  ::mallopt(M_MMAP_THRESHOLD, 16 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 256 << 20);
#if defined(HANDBACK_PLANTED_BUGS)
  const char* const name = std::getenv("HB_PLANTED_BUG");
  if (name == nullptr) return;
  for (const PlantedBugInfo& info : planted_bugs) {
    if (info.name == name) planted_bug = info.bug;
  }
#endif
}

void fill_with_garbage(SimDevice& device, std::uint64_t bytes) {
  constexpr std::uint32_t nobody = 0xdeadbeef;
  fill_sectors(device.image().first(std::min<std::uint64_t>(bytes, device.image().size())), nobody);
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
