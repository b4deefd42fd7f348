#include "handback/bench/process_cost.h"

#include <sys/resource.h>

#include <ctime>

namespace tool {

ProcessCost ProcessCost::now() noexcept {
  timespec cpu{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  ProcessCost cost;
  cost.cpu_ns = static_cast<std::uint64_t>(cpu.tv_sec) * 1'000'000'000 +
                static_cast<std::uint64_t>(cpu.tv_nsec);
  cost.ctx_switches =
      static_cast<std::uint64_t>(usage.ru_nvcsw) + static_cast<std::uint64_t>(usage.ru_nivcsw);
  return cost;
}

}  // namespace tool
