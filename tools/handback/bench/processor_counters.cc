#include "handback/bench/processor_counters.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tool {
namespace {

HostFd open_counter(std::uint64_t event) {
  perf_event_attr attributes{};
  attributes.size = sizeof(attributes);
  attributes.type = PERF_TYPE_HARDWARE;
  attributes.config = event;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  return HostFd(
      static_cast<int>(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
}

std::uint64_t value_of_counter(const HostFd& counter) {
  std::uint64_t value = 0;
  return read(counter.get(), &value, sizeof(value)) == sizeof(value) ? value : 0;
}

}  // namespace

ProcessorCounters::ProcessorCounters()
    : cycles_(open_counter(PERF_COUNT_HW_CPU_CYCLES)),
      instructions_(open_counter(PERF_COUNT_HW_INSTRUCTIONS)) {
  if (cycles_.get() < 0 || instructions_.get() < 0) {
    unavailable_ = std::strerror(errno);
  } else if (const Values values = now(); values.cycles == 0 || values.instructions == 0) {
    unavailable_ = "they stand still";
  }
}

ProcessorCounters::Values ProcessorCounters::now() const {
  return {.cycles = value_of_counter(cycles_), .instructions = value_of_counter(instructions_)};
}

}  // namespace tool
