// A copy by a child process that is killed in the middle of it.
#pragma once

#include <handback/route.h>
#include <cstdint>
#include <string>

#include "common/host_tree.h"

namespace tool {

// What the child had told when it died. Sent whole through a pipe.
struct ChildReport {
  std::uint64_t done_bytes = 0;  // Of requests delivered.
  std::uint64_t total_bytes = 0;
  std::uint64_t elapsed_ns = 0;  // Since it began to copy.
  std::uint64_t in_flight = 0;
  std::uint64_t by_route[handback::route_count] = {};
};

// Starts a process that copies `tree` into the volume at `volume_path`, and kills it (SIGKILL) as
// soon as it has told that `kill_at_bytes` are written. Throws Failure if it ended in any other
// way: then nothing was proven. Requires: this process has no threads and no volume open.
[[nodiscard]] ChildReport copy_and_kill(const std::string& volume_path, const HostTree& tree,
                                        std::uint64_t kill_at_bytes);

}  // namespace tool
