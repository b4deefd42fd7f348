// The whole stack on a bare device, against io_uring without it, side by side.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "handback/bench/device_load.h"
#include "handback/bench/device_target.h"
#include "handback/bench/load_options.h"
#include "handback/bench/statistics.h"

namespace tool {

enum class DeviceSide : std::uint8_t { handback, plain };
inline constexpr std::array device_sides{DeviceSide::handback, DeviceSide::plain};

[[nodiscard]] std::string_view to_string(DeviceSide side) noexcept;

// What ours is held to, at every depth.
inline constexpr double device_iops_bar = 0.97;  // Of plain's: at least.
inline constexpr double device_p99_bar = 1.1;    // Of plain's: at most.

struct DeviceRuns {
  bool busy = false;            // Of the two ways, the one with more IOPS.
  std::vector<RunResult> runs;  // By repeat.
  std::optional<double> system_calls_per_request;

  [[nodiscard]] std::vector<double> iops() const;
  [[nodiscard]] std::vector<double> p99_ns() const;
};

struct DeviceRow {
  DeviceAccess access;
  unsigned depth;
  std::array<DeviceRuns, device_sides.size()> sides;

  [[nodiscard]] const DeviceRuns& of(DeviceSide side) const {
    return sides[static_cast<std::size_t>(side)];
  }
  // Ours over plain.
  [[nodiscard]] PairRatios iops_ratios() const;
  [[nodiscard]] PairRatios p99_ratios() const;
};

struct DeviceResult {
  LoadOptions options;
  std::string kind;
  std::string description;
  double load_average = 0;
  std::string no_system_calls;  // Why they were not counted; empty if they were.
  std::vector<DeviceRow> rows;  // By access, then by depth.
};

// Throws Failure, also when a signal stopped it.
[[nodiscard]] DeviceResult compare_on_device(const LoadOptions& options, const DeviceTarget& target,
                                             handback::HostEngine engine);

}  // namespace tool
