#include "handback/bench/device_comparison.h"

#include <algorithm>
#include <cstdlib>

#include "common/progress.h"
#include "handback/bench/system_calls.h"

namespace tool {
namespace {

constexpr std::uint64_t trial_ns_max = 200'000'000;

// Latencies are lower edges of buckets, the first of which is 0.
double at_least_one(std::uint64_t ns) {
  return static_cast<double>(std::max<std::uint64_t>(ns, 1));
}

class Comparison {
 public:
  Comparison(const LoadOptions& options, const DeviceTarget& target, handback::HostEngine engine)
      : options_(options), target_(target), engine_(engine) {}

  RunResult run(DeviceSide side, const DeviceLoad& load) const {
    return side == DeviceSide::handback ? run_handback(target_.path(), engine_, load)
                                        : run_plain(target_.path(), load);
  }

  [[nodiscard]] DeviceLoad load(DeviceAccess access, unsigned depth, unsigned repeat) const {
    const OverwriteLoad how_long = options_.load(depth, repeat);
    return {.access = access,
            .depth = depth,
            .area = target_.area(),
            .seed = how_long.seed,
            .warm_up_ns = how_long.warm_up_ns / 4,
            .measured_ns = how_long.measured_ns};
  }

  // Whether looking before sleeping is better.
  [[nodiscard]] bool choose(DeviceSide side, DeviceLoad trial) const {
    trial.measured_ns = std::min(trial.measured_ns, trial_ns_max);
    std::array<double, 2> iops{};
    // There and back, so that a machine that gets slower or faster is no argument.
    for (const bool busy : {false, true, true, false}) {
      trial.busy = busy;
      iops[busy ? 1 : 0] += run(side, trial).iops();
    }
    return iops[1] > iops[0];
  }

  // In a run of its own, since the count costs a little. Opening and closing is in it.
  std::optional<double> count_system_calls(DeviceSide side, DeviceLoad load,
                                           std::string* unavailable) const {
    load.measured_ns = std::min(load.measured_ns, trial_ns_max);
    load.warm_up_ns = 0;
    const SystemCalls calls;
    if (!calls.unavailable().empty()) {
      *unavailable = calls.unavailable();
      return std::nullopt;
    }
    const RunResult result = run(side, load);
    return static_cast<double>(calls.count()) / static_cast<double>(result.requests);
  }

 private:
  const LoadOptions& options_;
  const DeviceTarget& target_;
  handback::HostEngine engine_;
};

}  // namespace

std::string_view to_string(DeviceAccess access) noexcept {
  switch (access) {
    case DeviceAccess::random_read:
      return "4 KiB random read";
    case DeviceAccess::random_overwrite:
      return "4 KiB random overwrite";
    case DeviceAccess::sequential_read:
      return "128 KiB sequential read";
    case DeviceAccess::sequential_overwrite:
      return "128 KiB sequential overwrite";
  }
  return "";
}

bool is_write(DeviceAccess access) noexcept {
  return access == DeviceAccess::random_overwrite || access == DeviceAccess::sequential_overwrite;
}

bool is_sequential(DeviceAccess access) noexcept {
  return access == DeviceAccess::sequential_read || access == DeviceAccess::sequential_overwrite;
}

std::uint32_t request_bytes(DeviceAccess access) noexcept {
  return is_sequential(access) ? 128U << 10 : overwrite_bytes;
}

std::string_view to_string(DeviceSide side) noexcept {
  return side == DeviceSide::handback ? "handback" : "plain";
}

std::vector<double> DeviceRuns::iops() const {
  std::vector<double> values;
  for (const RunResult& run : runs)
    values.push_back(run.iops());
  return values;
}

std::vector<double> DeviceRuns::p99_ns() const {
  std::vector<double> values;
  for (const RunResult& run : runs)
    values.push_back(at_least_one(run.p99_ns));
  return values;
}

PairRatios DeviceRow::iops_ratios() const {
  return pair_ratios(of(DeviceSide::handback).iops(), of(DeviceSide::plain).iops());
}

PairRatios DeviceRow::p99_ratios() const {
  return pair_ratios(of(DeviceSide::handback).p99_ns(), of(DeviceSide::plain).p99_ns());
}

DeviceResult compare_on_device(const LoadOptions& options, const DeviceTarget& target,
                               handback::HostEngine engine) {
  DeviceResult result{.options = options,
                      .kind = target.kind(),
                      .description = target.description(),
                      .load_average = 0,
                      .no_system_calls = "",
                      .rows = {}};
  if (getloadavg(&result.load_average, 1) != 1) result.load_average = 0;
  const Comparison comparison(options, target, engine);
  const std::uint64_t pairs =
      std::size(device_accesses) * options.depths.size() * (std::uint64_t{options.repeats} + 1);
  std::uint64_t pairs_done = 0;
  Progress progress("device", Progress::Unit::runs);
  for (const DeviceAccess access : device_accesses) {
    for (const unsigned depth : options.depths) {
      DeviceRow row{.access = access, .depth = depth, .sides = {}};
      for (const DeviceSide side : device_sides) {
        DeviceRuns& runs = row.sides[static_cast<std::size_t>(side)];
        DeviceLoad load = comparison.load(access, depth, 0);
        runs.busy = comparison.choose(side, load);
        load.busy = runs.busy;
        runs.system_calls_per_request =
            comparison.count_system_calls(side, load, &result.no_system_calls);
      }
      progress.update(++pairs_done, pairs);
      for (unsigned repeat = 0; repeat < options.repeats; ++repeat) {
        // Each is first in turn.
        for (std::size_t turn = 0; turn < device_sides.size(); ++turn) {
          const DeviceSide side = device_sides[(turn + repeat) % device_sides.size()];
          DeviceRuns& runs = row.sides[static_cast<std::size_t>(side)];
          DeviceLoad load = comparison.load(access, depth, repeat);
          load.busy = runs.busy;
          runs.runs.push_back(comparison.run(side, load));
        }
        progress.update(++pairs_done, pairs);
      }
      result.rows.push_back(std::move(row));
    }
  }
  return result;
}

}  // namespace tool
