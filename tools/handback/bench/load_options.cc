#include "handback/bench/load_options.h"

#include <algorithm>

#include "common/failure.h"

namespace tool {
namespace {
constexpr double warm_up_seconds_max = 0.2;
}  // namespace

unsigned LoadOptions::depth_max() const {
  return *std::max_element(depths.begin(), depths.end());
}

OverwriteLoad LoadOptions::load(unsigned depth, unsigned repeat) const {
  OverwriteLoad load;
  load.depth = depth;
  load.file_bytes = file_bytes;
  load.seed = repeat + 1;
  load.warm_up_ns = static_cast<std::uint64_t>(std::min(seconds, warm_up_seconds_max) * 1e9);
  load.measured_ns = static_cast<std::uint64_t>(seconds * 1e9);
  return load;
}

void require_sensible(const LoadOptions& options) {
  const auto require = [](bool holds, const char* message) {
    if (!holds) throw Failure(exit_usage, message);
  };
  require(options.seconds > 0 && options.seconds <= 3600,
          "--seconds: must be above 0 and at most 3600");
  require(options.repeats >= 1 && options.repeats <= 1000, "--repeats: must be from 1 to 1000");
  require(options.file_bytes >= 1U << 20 && options.file_bytes % overwrite_bytes == 0 &&
              options.file_bytes <= std::uint64_t{1} << 50,
          "--size: must be at least 1M, at most 1024T, and a multiple of 4096");
  for (const unsigned depth : options.depths) {
    require(depth >= 1 && depth <= 1024, "--qd: a depth must be from 1 to 1024");
  }
}

}  // namespace tool
