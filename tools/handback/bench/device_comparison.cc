#include "handback/bench/device_comparison.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "common/progress.h"
#include "handback/bench/system_calls.h"

namespace tool {
namespace {

constexpr std::uint64_t counted_ns_max = 200'000'000;

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

  // In a run of its own, since the count costs a little. Opening and closing is in it.
  std::optional<double> count_system_calls(DeviceSide side, DeviceLoad load,
                                           std::string* unavailable) const {
    load.measured_ns = std::min(load.measured_ns, counted_ns_max);
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

DeviceRuns better_of(std::array<DeviceRuns, 2> ways) {
  const bool second = median(ways[1].iops()) > median(ways[0].iops());
  return std::move(ways[second ? 1 : 0]);
}

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
  const std::uint64_t runs_in_all = std::size(device_accesses) * options.depths.size() * 2 *
                                    device_sides.size() * std::uint64_t{options.repeats};
  std::uint64_t runs_done = 0;
  Progress progress("device", Progress::Unit::runs);
  for (const DeviceAccess access : device_accesses) {
    for (const unsigned depth : options.depths) {
      // Of both sides: sleeping at once, and looking first.
      std::array<std::array<DeviceRuns, 2>, device_sides.size()> ways;
      constexpr std::size_t turns = 2 * device_sides.size();
      for (unsigned repeat = 0; repeat < options.repeats; ++repeat) {
        // In an order that rotates, the sides by turns.
        for (std::size_t turn = 0; turn < turns; ++turn) {
          const std::size_t i = (turn + repeat) % turns;
          const std::size_t side = i % 2;
          DeviceLoad load = comparison.load(access, depth, repeat);
          load.busy = i / 2 != 0;
          DeviceRuns& runs = ways[side][i / 2];
          runs.busy = load.busy;
          runs.runs.push_back(comparison.run(device_sides[side], load));
          progress.update(++runs_done, runs_in_all);
        }
      }
      DeviceRow row{.access = access, .depth = depth, .sides = {}};
      for (std::size_t side = 0; side < device_sides.size(); ++side) {
        DeviceRuns& runs = row.sides[side];
        runs = better_of(std::move(ways[side]));
        DeviceLoad load = comparison.load(access, depth, 0);
        load.busy = runs.busy;
        runs.system_calls_per_request =
            comparison.count_system_calls(device_sides[side], load, &result.no_system_calls);
      }
      result.rows.push_back(std::move(row));
    }
  }
  return result;
}

}  // namespace tool
