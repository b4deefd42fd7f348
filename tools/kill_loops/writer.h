// The process that is killed: threads that change a volume and note what was acknowledged.
#pragma once

#include <handback/host_device.h>
#include <cstdint>
#include <string>

#include "kill_loops/shared_state.h"

namespace tool::kill_loops {

struct WriterOptions {
  std::string volume;
  std::uint64_t seed = 1;
  unsigned threads = 3;
  handback::HostEngine engine = handback::HostEngine::automatic;
  bool lies = false;  // Notes acknowledgements before it has them: the verifier must find out.
};

// Works until it is killed. Returns only after an error, with an exit code.
int run_writer(const WriterOptions& options, SharedState& shared);

}  // namespace tool::kill_loops
