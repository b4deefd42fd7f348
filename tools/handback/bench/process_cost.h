// What the process has used up to now, all its threads together.
#pragma once

#include <cstdint>

namespace tool {

struct ProcessCost {
  std::uint64_t cpu_ns = 0;
  std::uint64_t ctx_switches = 0;  // Voluntary and involuntary.

  [[nodiscard]] static ProcessCost now() noexcept;
};

}  // namespace tool
