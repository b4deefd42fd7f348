// The machine that was measured, in words that name no host.
#pragma once

#include <string>

namespace tool {

// "2025-11-25, CPU MODEL, 2 cores, Linux 6.18.5, 24 GiB of memory, load average 0.3 at the start."
[[nodiscard]] std::string machine_facts(double load_average);

}  // namespace tool
