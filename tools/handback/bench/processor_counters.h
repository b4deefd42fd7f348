// The processor's own counters of this thread, in user mode. Few virtual machines have them.
#pragma once

#include <cstdint>
#include <string>

#include "common/host_fd.h"

namespace tool {

class ProcessorCounters {
 public:
  ProcessorCounters();

  struct Values {
    std::uint64_t cycles = 0;
    std::uint64_t instructions = 0;
  };
  // Since they were opened. Requires: unavailable() is empty.
  [[nodiscard]] Values now() const;

  // Why there are none; empty if there are.
  [[nodiscard]] const std::string& unavailable() const noexcept { return unavailable_; }

 private:
  HostFd cycles_;
  HostFd instructions_;
  std::string unavailable_;
};

}  // namespace tool
