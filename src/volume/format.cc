#include "volume/format.h"

#include <algorithm>

namespace handback {

Layout layout_for(std::uint64_t total_blocks, bool data_checksums) noexcept {
  Layout layout;
  layout.total_blocks = total_blocks;
  layout.log_start = log_first_block;
  // 1/64 of the volume, 256 KiB to 64 MiB.
  layout.log_blocks = std::clamp<std::uint64_t>(total_blocks / 64, 64, 16384);
  // 1/128 of the volume each: 32 bytes per block, so that one-block extents (20 bytes each)
  // everywhere can be described, though not one-block files (64 bytes and a name each); 128 KiB to
  // 1 GiB.
  layout.slot_blocks = std::clamp<std::uint64_t>(total_blocks / 128 + 8, 32, 262144);
  layout.slot_start[0] = layout.log_start + layout.log_blocks;
  layout.slot_start[1] = layout.slot_start[0] + layout.slot_blocks;
  layout.data_start = layout.slot_start[1] + layout.slot_blocks;
  layout.data_end = total_blocks - 1;
  layout.backup_superblock = total_blocks - 1;
  if (data_checksums) {
    layout.checksum_start = layout.data_start;
    const std::uint64_t blocks = layout.data_end - layout.checksum_start;
    // Of each 1009 blocks one holds the checksums of the others.
    layout.checksum_pages = (blocks + checksums_per_page) / (checksums_per_page + 1);
    layout.data_start += layout.checksum_pages;
  }
  return layout;
}

Layout layout_grown(std::uint64_t formatted_blocks, std::uint64_t total_blocks) noexcept {
  Layout layout = layout_for(formatted_blocks);
  layout.total_blocks = total_blocks;
  layout.data_end = total_blocks - 1;
  layout.backup_superblock = total_blocks - 1;
  return layout;
}

}  // namespace handback
