// Repair of a volume that nobody has open: what a check found is put right, where that takes no
// guess.
#pragma once

#include <handback/volume.h>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace handback {

// What repair_volume() did, or would not do.
enum class RepairOutcome : std::uint8_t {
  consistent,  // There was nothing to do.
  repaired,    // All of the plan was carried out, and the volume is consistent.
  declined,    // RepairOptions::confirm said no. Nothing was written.
  refused,     // Something is wrong that has no safe remedy. Nothing was written.
};

struct RepairOptions {
  // Asked once, with what would be done, before the first byte is written. Null: go on.
  std::function<bool(const std::vector<std::string>& plan)> confirm;
};

struct RepairReport {
  RepairOutcome outcome = RepairOutcome::consistent;
  CheckReport check;                  // As the volume was found.
  std::vector<std::string> plan;      // In the order in which it is done.
  std::vector<std::string> refusals;  // Of every finding without a remedy: why.
  std::uint64_t blocks_written = 0;
};

// Repairs what can be repaired without a guess: a superblock or root from its good twin, counts
// that follow from what is there, a record at the log's end that a crash cut off. All findings or
// none: beside one that has no safe remedy nothing is written at all.
// May be cut off at any moment: then the volume is what it was, or repaired in part, and the repair
// can be made again. Errors: as check_volume(), and read_only; io and timed_out if a write fails.
[[nodiscard]] Result<RepairReport> repair_volume(Issuer& issuer, BlockDevice& device,
                                                 const RepairOptions& options = {});

}  // namespace handback
