// When a run's requests count: from the first end after the warm-up to the first end after the
// measured time.
//
// Both edges are ends of requests, so that the count divided by the time between them is the rate
// even of a short run; and at least one request counts, however long the machine stood still.
#pragma once

#include <cstdint>

#include "handback/bench/latency_histogram.h"
#include "handback/bench/process_cost.h"

namespace tool {

struct RunResult {
  std::uint64_t requests = 0;
  std::uint64_t elapsed_ns = 0;
  std::uint64_t p50_ns = 0;
  std::uint64_t p99_ns = 0;
  std::uint64_t p999_ns = 0;
  ProcessCost cost;  // Of all requests that count.

  [[nodiscard]] double iops() const {
    return static_cast<double>(requests) / (static_cast<double>(elapsed_ns) * 1e-9);
  }
  [[nodiscard]] double cpu_ns_per_io() const {
    return static_cast<double>(cost.cpu_ns) / static_cast<double>(requests);
  }
  [[nodiscard]] double ctx_switches_per_io() const {
    return static_cast<double>(cost.ctx_switches) / static_cast<double>(requests);
  }
};

// Of a load that keeps its own window: latencies, each of so many requests, and what was used
// between its edges.
[[nodiscard]] RunResult result_of(const LatencyHistogram& latencies, std::uint64_t requests_each,
                                  std::uint64_t elapsed_ns, const ProcessCost& before,
                                  const ProcessCost& after) noexcept;

class MeasuredWindow {
 public:
  // Ends before `open_from_ns` are warm-up.
  MeasuredWindow(std::uint64_t open_from_ns, std::uint64_t measured_ns) noexcept
      : open_from_ns_(open_from_ns), measured_ns_(measured_ns) {}

  // A request that was started at `started_ns` has ended now. Allocates nothing.
  void add_end(std::uint64_t started_ns, std::uint64_t now_ns) noexcept;

  // The load has ended before its time, with the request that ended at `now_ns`. No effect if the
  // run is over; false if nothing has counted yet.
  bool close(std::uint64_t now_ns) noexcept;

  // The run is over: start no more.
  [[nodiscard]] bool closed() const noexcept { return closed_ns_ != 0; }

  // Requires: closed().
  [[nodiscard]] RunResult result() const noexcept;

 private:
  std::uint64_t open_from_ns_;
  std::uint64_t measured_ns_;
  std::uint64_t opened_ns_ = 0;  // 0: not yet.
  std::uint64_t closed_ns_ = 0;
  ProcessCost cost_opened_;
  ProcessCost cost_closed_;
  LatencyHistogram latencies_;
};

}  // namespace tool
