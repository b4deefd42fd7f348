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

RunResult MeasuredWindow::result() const noexcept {
  RunResult result;
  result.requests = latencies_.count();
  result.elapsed_ns = closed_ns_ - opened_ns_;
  result.p50_ns = latencies_.quantile_ns(0.5);
  result.p99_ns = latencies_.quantile_ns(0.99);
  result.p999_ns = latencies_.quantile_ns(0.999);
  result.cost.cpu_ns = cost_closed_.cpu_ns - cost_opened_.cpu_ns;
  result.cost.ctx_switches = cost_closed_.ctx_switches - cost_opened_.ctx_switches;
  return result;
}

}  // namespace tool
