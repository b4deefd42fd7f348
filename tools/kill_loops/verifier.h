// Opens the volume after a kill and holds it against what was acknowledged.
#pragma once

#include <handback/host_device.h>
#include <cstdint>
#include <string>
#include <vector>

#include "kill_loops/shared_state.h"

namespace tool::kill_loops {

struct VerifyOptions {
  std::string volume;
  unsigned threads = 3;
  handback::HostEngine engine = handback::HostEngine::automatic;
  bool close = true;       // Close the volume at the end; otherwise leave it as a kill would.
  bool empty_log = false;  // Empty the common file, which otherwise only grows.
};

struct VerifyResult {
  std::vector<std::string> violations;
  bool recovered = false;  // There was something to replay.
  std::uint64_t records_replayed = 0;
  std::uint64_t writes_dropped = 0;
  std::uint64_t units_read = 0;
};

// What it finds becomes what is expected from now on.
[[nodiscard]] VerifyResult verify(const VerifyOptions& options, SharedState& shared);

}  // namespace tool::kill_loops
