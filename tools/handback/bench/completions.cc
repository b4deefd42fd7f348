#include "handback/bench/completions.h"

#include <fmt/format.h>

#include <handback/worker_pool.h>
#include <cstdlib>

#include "common/failure.h"
#include "common/progress.h"

namespace tool {
namespace {

// Requests that may end elsewhere: of a hundred, one.
constexpr std::uint64_t stray_divisor = 100;

template <typename Get>
double median_of(const std::vector<RunResult>& runs, Get get) {
  std::vector<double> values;
  values.reserve(runs.size());
  for (const auto& run : runs)
    values.push_back(static_cast<double>(get(run)));
  return median(std::move(values));
}

std::vector<double> iops_of(const std::vector<RunResult>& runs) {
  std::vector<double> values;
  values.reserve(runs.size());
  for (const auto& run : runs)
    values.push_back(run.iops());
  return values;
}

// One run with an issuer of its own, so that its statistics are of this run alone.
RunResult run_route(handback::Route route, OverwriteLoad load, BenchTarget& target,
                    handback::WorkerPool& workers) {
  handback::IssuerOptions options;
  options.workers = &workers;
  options.settle_in_task = route != handback::Route::inline_;
  const auto issuer = value_of(handback::Issuer::create(options), "bench");
  value_of(issuer->attach(target.device()), target.description());
  load.dio_defer = route != handback::Route::worker;
  const RunResult result = overwrite_through(*issuer, target.file(), load);
  require_route(issuer->stats(), route);
  return result;
}

}  // namespace

void require_route(const handback::IssuerStats& stats, handback::Route route) {
  const std::uint64_t taken = stats.by_route[static_cast<std::size_t>(route)];
  if ((stats.delivered - taken) * stray_divisor <= stats.delivered) return;
  throw Failure(
      exit_failed,
      fmt::format("bench: only {} of {} requests took the route '{}' ({} ended within their "
                  "submission), so there is nothing to compare",
                  taken, stats.delivered, handback::to_string(route),
                  stats.by_route[static_cast<std::size_t>(handback::Route::submit)]));
}

RouteFigures CompletionsAtDepth::figures(std::size_t route) const {
  const auto& of = runs[route];
  RouteFigures figures;
  figures.iops = median_of(of, [](const RunResult& run) { return run.iops(); });
  figures.p50_ns = median_of(of, [](const RunResult& run) { return run.p50_ns; });
  figures.p99_ns = median_of(of, [](const RunResult& run) { return run.p99_ns; });
  figures.p999_ns = median_of(of, [](const RunResult& run) { return run.p999_ns; });
  figures.cpu_ns_per_io = median_of(of, [](const RunResult& run) { return run.cpu_ns_per_io(); });
  figures.ctx_switches_per_io =
      median_of(of, [](const RunResult& run) { return run.ctx_switches_per_io(); });
  return figures;
}

PairRatios CompletionsAtDepth::over_worker(std::size_t route) const {
  return pair_ratios(iops_of(runs[route]), iops_of(runs[worker_index]));
}

std::optional<double> series_ratio(unsigned depth) {
  switch (depth) {
    case 1:
      return 1.045;
    case 2:
      return 1.079;
    case 4:
      return 1.120;
    case 8:
      return 1.369;
    case 16:
      return 1.374;
    default:
      return std::nullopt;
  }
}

CompletionsResult measure_completions(const CompletionsOptions& options, BenchTarget& target) {
  const auto workers =
      value_of(handback::WorkerPool::create({.threads = options.workers}), "bench");
  CompletionsResult result{.options = options,
                           .kind = target.kind(),
                           .description = target.description(),
                           .load_average = 0,
                           .depths = {}};
  if (getloadavg(&result.load_average, 1) != 1) result.load_average = 0;
  const std::uint64_t runs =
      completion_routes.size() * options.load.depths.size() * options.load.repeats;
  std::uint64_t runs_done = 0;
  Progress progress("completions", Progress::Unit::runs);
  for (const unsigned depth : options.load.depths) {
    CompletionsAtDepth at{.depth = depth, .runs = {}};
    for (unsigned repeat = 0; repeat < options.load.repeats; ++repeat) {
      // Each route is first, second and last in turn: what slowly changes touches all alike.
      for (std::size_t i = 0; i < completion_routes.size(); ++i) {
        const std::size_t route = (i + repeat) % completion_routes.size();
        at.runs[route].push_back(run_route(completion_routes[route],
                                           options.load.load(depth, repeat), target, *workers));
        progress.update(++runs_done, runs);
      }
    }
    result.depths.push_back(std::move(at));
  }
  return result;
}

}  // namespace tool
