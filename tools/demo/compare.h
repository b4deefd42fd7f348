// Every file of a volume against the files it was copied from, by SHA-256.
#pragma once

#include <handback/issuer.h>
#include <handback/volume.h>
#include <cstdint>
#include <vector>

#include "common/copy_report.h"
#include "common/host_tree.h"

namespace tool {

struct Comparison {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;  // Read from the volume.
  std::uint64_t elapsed_ns = 0;
  std::vector<PathNote> mismatches;  // Differing, missing, or not to be there.
};

// Reads all of the volume with direct I/O; sources are read and hashed on a second thread
// meanwhile. Throws Failure; also when a signal says stop.
[[nodiscard]] Comparison compare_with_sources(handback::Volume& volume, handback::Issuer& issuer,
                                              const HostTree& tree);

}  // namespace tool
