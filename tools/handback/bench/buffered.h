// Buffered I/O of a volume beside direct I/O, blocking threads and the host's own page cache: what
// is measured.
#pragma once

#include <string>
#include <vector>

#include "handback/bench/bench_target.h"
#include "handback/bench/load_options.h"
#include "handback/bench/statistics.h"

namespace tool {

struct BufferedOptions {
  std::string device = "mem";  // Or a path, as for BenchTarget.
  bool overwrite_device = false;
  std::string against;  // A folder; empty: without the host's file system.
  std::vector<std::string> loads{"hits", "misses", "order"};  // Which to measure.
  LoadOptions load{.depths = {1, 8, 32}, .seconds = 0.5, .repeats = 7};
};

// One way to carry one load.
struct BufferedRow {
  std::string load;    // "hits, 1 MiB", "misses", "reads in order", "writes in order".
  std::string target;  // "buffered", "direct", "ext4, io_uring", ...
  unsigned depth = 1;
  std::uint32_t bytes = 0;      // Of a request.
  bool ours = false;            // What the others are held against.
  std::vector<RunResult> runs;  // By repeat.

  [[nodiscard]] std::vector<double> bytes_per_second() const;
};

struct BufferedResult {
  BufferedOptions options;
  std::string kind;                     // Which section of a page this is.
  std::string description;              // Of the device.
  double load_average = 0;              // Of the machine, when the runs began.
  std::uint64_t miss_cache_bytes = 0;   // Of the cache, where next to nothing is.
  std::uint64_t order_cache_bytes = 0;  // Of the cache, for requests in order.
  std::vector<BufferedRow> rows;
};

// Bytes per second of a buffered way over those of another one for the same load and depth: the
// median of the ratios of runs that took turns.
struct BufferedRatio {
  const BufferedRow* ours;
  const BufferedRow* over;
  PairRatios pairs;
};
[[nodiscard]] std::vector<BufferedRatio> buffered_ratios(const BufferedResult& result);

// Throws Failure, also when a signal stopped it.
[[nodiscard]] BufferedResult measure_buffered(const BufferedOptions& options,
                                              handback::HostEngine engine);

}  // namespace tool
