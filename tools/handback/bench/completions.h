// The same overwrites with their completions on each of three routes, side by side.
#pragma once

#include <handback/route.h>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "handback/bench/bench_target.h"
#include "handback/bench/load_options.h"
#include "handback/bench/statistics.h"

namespace tool {

inline constexpr std::array completion_routes{handback::Route::inline_, handback::Route::issuer,
                                              handback::Route::worker};
inline constexpr std::size_t inline_index = 0;
inline constexpr std::size_t issuer_index = 1;
inline constexpr std::size_t worker_index = 2;

struct CompletionsOptions {
  std::string device = "mem";
  bool overwrite_device = false;
  unsigned workers = 1;
  LoadOptions load{.depths = {1, 2, 4, 8, 16}, .seconds = 1};
};

// Medians of the repeats of one route at one depth.
struct RouteFigures {
  double iops = 0;
  double p50_ns = 0;
  double p99_ns = 0;
  double p999_ns = 0;
  double cpu_ns_per_io = 0;
  double ctx_switches_per_io = 0;
};

struct CompletionsAtDepth {
  unsigned depth = 0;
  // By index in completion_routes, then by repeat.
  std::array<std::vector<RunResult>, completion_routes.size()> runs;

  [[nodiscard]] RouteFigures figures(std::size_t route) const;
  // IOPS of a route over those of the route `worker`.
  [[nodiscard]] PairRatios over_worker(std::size_t route) const;
};

struct CompletionsResult {
  CompletionsOptions options;
  std::string kind;
  std::string description;
  double load_average = 0;  // Of the machine, when the runs began.
  std::vector<CompletionsAtDepth> depths;
};

// What the series of July 2023 reported for caller completion over the kernel's worker: 4 KiB
// random overwrites on XFS, fio on one CPU (commit 8c052fb3002e). Empty for other depths.
[[nodiscard]] std::optional<double> series_ratio(unsigned depth);

// Throws Failure if more than one request in a hundred took another route: a figure under the wrong
// name is worse than none.
void require_route(const handback::IssuerStats& stats, handback::Route route);

// Throws Failure, also if requests did not take the route that was to be measured.
[[nodiscard]] CompletionsResult measure_completions(const CompletionsOptions& options,
                                                    BenchTarget& target);

}  // namespace tool
