// A random run, decided from its seed before it begins: so it can be run again without some of its
// operations.
#pragma once

#include <handback/sim.h>
#include <string>
#include <vector>

#include "sim/operation.h"
#include "sim/scenario.h"

namespace handback::sim {

enum class LifeEnd : std::uint8_t { power_cut, kill, close };

// From opening a volume to the end of it.
struct LifePlan {
  std::vector<Operation> operations;
  std::vector<FaultRule> faults;
  LifeEnd end = LifeEnd::power_cut;
  std::uint64_t seed = 1;  // Of the moments and images of power cuts.
  unsigned looks = 4;      // Images that are verified besides the one that stays.
};

struct RunPlan {
  std::uint64_t seed = 1;
  SimDeviceOptions device;
  std::uint32_t commit_interval_ms = 500;
  bool data_checksums = false;
  std::vector<LifePlan> lives;
};

[[nodiscard]] RunPlan plan_from(std::uint64_t seed);
[[nodiscard]] std::string to_string(const RunPlan& plan);

}  // namespace handback::sim
