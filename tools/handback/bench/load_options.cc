#include "handback/bench/load_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "common/failure.h"
#include "common/text.h"

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

void add_load_options(CLI::App& command, LoadOptions* options) {
  command
      .add_option(
          "--qd", options->depths,
          fmt::format("Depths: requests in flight; default {}", fmt::join(options->depths, ",")))
      ->delimiter(',')
      ->type_name("LIST");
  command
      .add_option("--seconds", options->seconds,
                  fmt::format("Length of one run; default {:g}", options->seconds))
      ->type_name("S");
  command
      .add_option("--repeats", options->repeats,
                  fmt::format("Runs of each kind at each depth; default {}", options->repeats))
      ->type_name("R");
  add_size_option(command, "--size", &options->file_bytes,
                  fmt::format("Bytes to overwrite; default {}M", options->file_bytes >> 20));
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
