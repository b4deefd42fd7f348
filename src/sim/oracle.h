// Holds a recovered volume against its history: is this a state that a crash at that moment may
// leave? docs/simulator.md, "What the oracle holds".
#pragma once

#include <handback/sim.h>
#include <handback/volume.h>
#include <string>
#include <vector>

#include "sim/history.h"

namespace handback::sim {

// A volume as it was found.
struct FoundEntry {
  std::string path;
  bool directory = false;
  std::uint64_t ino = 0;
  std::uint32_t nlink = 0;
  std::uint64_t size = 0;
};
struct FoundSector {
  Decoded decoded;
  std::uint64_t at = 0;  // Of a sector that is not whole: where its bytes lie in `torn`.
};
struct FoundFile {
  std::uint64_t ino = 0;
  std::uint64_t size = 0;
  std::uint64_t allocated = 0;
  std::vector<FoundSector> sectors;
};
struct FoundVolume {
  std::vector<FoundEntry> entries;  // By path.
  std::vector<FoundFile> files;     // By number.
  std::vector<std::byte> torn;
  std::uint64_t free_bytes = 0;
  std::uint64_t data_bytes = 0;

  [[nodiscard]] const FoundFile* file(std::uint64_t ino) const;
  [[nodiscard]] std::uint64_t digest() const noexcept;
};

// Reads everything. Returns what is wrong in itself: a call that fails, space that is not
// accounted for; empty if nothing is. `found` may be used again and again.
[[nodiscard]] std::string read_volume(Issuer& issuer, Volume& volume, FoundVolume* found);

struct CrashFacts {
  std::uint64_t moment = 0;
  // The image and what was promised by then, as one number each.
  std::uint64_t image = 0;
  std::uint64_t promises = 0;
  bool torn = false;  // Some write was cut.
  // A write in flight was cut inside a sector: in-place data of that write may be mixed there.
  bool torn_inside_sector = false;
  // Nothing was lost that had been handed to the device: as if only the process had died.
  bool process_only = false;
  std::uint32_t logical_block_bytes = 512;
  // A tear within the logical block: then its sectors may differ.
  bool torn_inside_block = false;
};

// Empty if `found` is allowed; else why not.
[[nodiscard]] std::string judge(const History& history, const CrashFacts& facts,
                                const FoundVolume& found);

}  // namespace handback::sim
