// Durable appends side by side: the figures, and how they are printed.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "handback/bench/measured_window.h"
#include "handback/bench/statistics.h"

namespace tool {

struct AppendOptions {
  std::vector<std::string> volumes;
  std::vector<std::string> directories;
  std::vector<std::string> devices;
  std::vector<unsigned> inflight{1, 16};
  double seconds = 1;  // Of one run, after its warm-up.
  unsigned repeats = 7;
  std::uint64_t bytes_max = 512U << 20;  // Appended in one run.
};

// One target at one number in flight.
struct AppendRow {
  std::string target;
  std::string place;
  std::string way;
  unsigned inflight = 0;
  bool ours = false;
  std::vector<RunResult> runs;  // By repeat.

  [[nodiscard]] std::vector<double> iops() const;
};

struct AppendResult {
  AppendOptions options;
  std::string kind;         // Of the first volume: which section of a page this is.
  double load_average = 0;  // Of the machine, when the runs began.
  std::vector<AppendRow> rows;
};

// Appends per second of a volume over those of another target: the median of the ratios of runs
// that took turns.
struct AppendRatio {
  const AppendRow* volume;
  const AppendRow* over;
  PairRatios pairs;
};
[[nodiscard]] std::vector<AppendRatio> append_ratios(const AppendResult& result);

void print_appends(const AppendResult& result);
[[nodiscard]] nlohmann::ordered_json append_json(const AppendResult& result);
[[nodiscard]] std::string append_markdown(const AppendResult& result);

}  // namespace tool
