// How many system calls this thread makes, by the kernel's own count (a trace point, which root may
// read): what a program does is not changed by it, nor noticeably slowed.
#pragma once

#include <cstdint>
#include <string>

#include "common/host_fd.h"

namespace tool {

class SystemCalls {
 public:
  // Counts from here on.
  SystemCalls();

  // Up to now, without this one. Requires: unavailable() is empty.
  [[nodiscard]] std::uint64_t count() const;

  // Why they cannot be counted; empty if they can.
  [[nodiscard]] const std::string& unavailable() const noexcept { return unavailable_; }

 private:
  HostFd counter_;
  std::string unavailable_;
};

}  // namespace tool
