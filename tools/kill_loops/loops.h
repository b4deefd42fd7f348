// Kills a writer again and again, and verifies what it leaves.
#pragma once

#include <handback/host_device.h>
#include <cstdint>
#include <string>
#include <vector>

#include "kill_loops/shared_state.h"

namespace tool::kill_loops {

struct LoopOptions {
  std::string directory;  // Where the volume's file goes; a new folder in it, removed at the end.
  std::uint64_t loops = 200;
  std::uint64_t seed = 1;
  unsigned threads = 3;
  std::uint64_t size_bytes = 24U << 20;
  handback::HostEngine engine = handback::HostEngine::automatic;
  bool lies = false;
  bool keep = false;
};

struct LoopResult {
  std::uint64_t loops = 0;
  std::uint64_t killed_at_work = 0;
  std::uint64_t killed_in_recovery = 0;
  std::uint64_t recoveries = 0;
  std::uint64_t records_replayed = 0;
  std::uint64_t writes_dropped = 0;
  std::uint64_t units_read = 0;
  std::uint64_t acknowledged[act_count] = {};
  std::vector<std::string> violations;
  std::string engine;
  std::uint32_t unit_bytes = 0;
  std::string kept;  // Where the volume is, if it was kept.
  double seconds = 0;
};

// Stops at the first loop with a violation. Throws Failure, also when a signal stopped it.
[[nodiscard]] LoopResult run_loops(const LoopOptions& options);

}  // namespace tool::kill_loops
