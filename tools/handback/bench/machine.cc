#include "handback/bench/machine.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ctime>
#include <fstream>

#include "common/text.h"

namespace tool {
namespace {

std::string cpu_model() {
  std::ifstream cpus("/proc/cpuinfo");
  std::string line;
  while (std::getline(cpus, line)) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  utsname system{};
  uname(&system);
  return std::string("a CPU of type ") + system.machine;
}

// Without what distributions and providers append.
std::string kernel_version() {
  utsname system{};
  uname(&system);
  const std::string release = system.release;
  return release.substr(0, release.find_first_not_of("0123456789."));
}

std::string utc_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  return fmt::format("{:04}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

}  // namespace

std::string machine_facts(double load_average) {
  const auto memory_bytes = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                            static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const auto cores = static_cast<std::uint64_t>(sysconf(_SC_NPROCESSORS_ONLN));
  return fmt::format("{}, {}, {}, Linux {}, {} of memory, load average {:.1f} at the start.",
                     utc_date(), cpu_model(), count_of(cores, "core", "cores"), kernel_version(),
                     human_size(memory_bytes), load_average);
}

}  // namespace tool
