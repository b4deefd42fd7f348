// Reads a volume's metadata from the device, checks all of it, replays the log in memory. Writes
// nothing.
//
// Used by open, which refuses the first thing that is wrong. The check of a volume (check.h) reads
// for itself.
#pragma once

#include <handback/volume.h>
#include <memory>
#include <vector>

#include "volume/allocator.h"
#include "volume/data_checksums.h"
#include "volume/metadata.h"
#include "volume/superblock.h"

namespace handback {

struct LoadedVolume {
  Superblock superblock;
  Root root;
  std::unique_ptr<Metadata> metadata;
  std::unique_ptr<Allocator> allocator;
  std::unique_ptr<DataChecksums> checksums;  // Null: the volume has none.
  RecoveryReport recovery;
  std::uint64_t log_head = 0;       // Position (blocks ever written) after the last good record.
  std::uint64_t next_sequence = 0;  // Number of the next log record.
  std::uint64_t blocks_read = 0;
  // Writes that the log does not call confirmed begin here; below next_write_id: it was decided by
  // their data. `voids`: those that did not count.
  std::uint64_t unconfirmed_from = 1;
  std::uint64_t next_write_id = 1;
  std::vector<std::uint64_t> voids;
};

// Fails at the first damage. Errors: invalid (no volume), version, damaged, io.
[[nodiscard]] Result<LoadedVolume> load_volume(Issuer& issuer, BlockDevice& device);

// The number that has come so close to the largest that a reader takes that a session of writing
// could go beyond it; null: none. No volume gets there by being used.
[[nodiscard]] const char* numbers_used_up(const LoadedVolume& volume) noexcept;

[[nodiscard]] VolumeInfo volume_info(const Superblock& superblock, const Metadata& metadata,
                                     std::uint64_t free_blocks, std::uint64_t log_used_blocks);

}  // namespace handback
