// What a volume's page cache has and has done. See VolumeFile for buffered I/O.
#pragma once

#include <cstdint>

namespace handback {

// Now, and since the volume was opened. A page has 4096 bytes.
struct PageCacheInfo {
  std::uint64_t memory_bytes_max = 0;
  // Everything: bytes, records, index, and what write-back copies into.
  std::uint64_t memory_bytes = 0;
  std::uint64_t pages = 0;
  std::uint64_t pages_dirty = 0;
  std::uint64_t hits = 0;  // Page by page.
  std::uint64_t misses = 0;
  std::uint64_t pages_read = 0;  // Read ahead, too.
  std::uint64_t pages_written = 0;
  std::uint64_t evictions = 0;
  std::uint64_t invalidations = 0;  // By direct writes.
};

}  // namespace handback
