// What every benchmark of a load is told: depths, how long, how often, over how much.
#pragma once

#include <cstdint>
#include <vector>

#include "handback/bench/overwrite_load.h"

namespace tool {

struct LoadOptions {
  std::vector<unsigned> depths;
  double seconds = 2;  // Of one run, after its warm-up.
  unsigned repeats = 5;
  std::uint64_t file_bytes = 256U << 20;

  [[nodiscard]] unsigned depth_max() const;
  // The load of one run. All runs of a repeat go to the same offsets.
  [[nodiscard]] OverwriteLoad load(unsigned depth, unsigned repeat) const;
};

// Throws Failure.
void require_sensible(const LoadOptions& options);

}  // namespace tool
