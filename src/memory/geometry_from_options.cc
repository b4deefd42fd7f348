#include "memory/geometry_from_options.h"

#include "base/assert.h"
#include "block/bio_check.h"

namespace handback {

Geometry geometry_from_options(const MemoryDeviceOptions& options) noexcept {
  Geometry geometry;
  geometry.size_bytes = options.size_bytes;
  geometry.logical_block_bytes = options.logical_block_bytes;
  geometry.memory_alignment_bytes = options.memory_alignment_bytes;
  geometry.transfer_bytes_max = options.transfer_bytes_max;
  geometry.volatile_cache = options.volatile_cache;
  geometry.fua = options.fua;
  HB_ASSERT(is_sound(geometry), "a geometry has a size, and blocks of 512 or 4096 bytes");
  return geometry;
}

}  // namespace handback
