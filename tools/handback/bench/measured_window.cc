#include "handback/bench/measured_window.h"

#include <algorithm>

namespace tool {

void MeasuredWindow::add_end(std::uint64_t started_ns, std::uint64_t now_ns) noexcept {
  if (now_ns < open_from_ns_ || closed()) return;
  if (opened_ns_ == 0) {
    opened_ns_ = now_ns;
    cost_opened_ = ProcessCost::now();
    return;
  }
  latencies_.add(now_ns - started_ns);
  if (now_ns - opened_ns_ >= measured_ns_) close(now_ns);
}

bool MeasuredWindow::close(std::uint64_t now_ns) noexcept {
  if (closed()) return true;
  if (latencies_.count() == 0) return false;
  closed_ns_ = std::max(now_ns, opened_ns_ + 1);
  cost_closed_ = ProcessCost::now();
  return true;
}

RunResult result_of(const LatencyHistogram& latencies, std::uint64_t requests_each,
                    std::uint64_t elapsed_ns, const ProcessCost& before,
                    const ProcessCost& after) noexcept {
  RunResult result;
  result.requests = latencies.count() * requests_each;
  result.elapsed_ns = elapsed_ns;
  result.p50_ns = latencies.quantile_ns(0.5);
  result.p99_ns = latencies.quantile_ns(0.99);
  result.p999_ns = latencies.quantile_ns(0.999);
  result.cost.cpu_ns = after.cpu_ns - before.cpu_ns;
  result.cost.ctx_switches = after.ctx_switches - before.ctx_switches;
  return result;
}

RunResult MeasuredWindow::result() const noexcept {
  return result_of(latencies_, 1, closed_ns_ - opened_ns_, cost_opened_, cost_closed_);
}

}  // namespace tool
