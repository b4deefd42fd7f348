// Loads of buffered I/O: single reads of what is in memory, random reads at a depth, and reads and
// writes in order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/bench/bench_files.h"
#include "handback/bench/measured_window.h"

namespace tool {

inline constexpr std::uint32_t buffered_read_bytes = 4096;
inline constexpr std::uint32_t buffered_chunk_bytes = 128U << 10;

// Blocks of a file in random order, each once in a round: no read of a round finds what another
// one has brought in. The same for all that are compared.
class ReadOrder {
 public:
  ReadOrder(std::uint64_t file_bytes, std::uint64_t seed);

  // The offset of the n-th read; behind the last block the order begins again.
  [[nodiscard]] std::uint64_t offset(std::uint64_t n) const {
    return std::uint64_t{blocks_[n % blocks_.size()]} * buffered_read_bytes;
  }
  [[nodiscard]] std::uint64_t count() const { return blocks_.size(); }

 private:
  std::vector<std::uint32_t> blocks_;
};

struct RunTimes {
  std::uint64_t warm_up_ns = 0;  // Before anything is counted.
  std::uint64_t measured_ns = 0;
};

struct RandomReads {
  const ReadOrder& order;
  unsigned depth = 1;  // Requests in flight, or threads.
  RunTimes times;
};

struct InOrder {
  std::uint64_t file_bytes = 0;
  std::uint32_t bytes = buffered_chunk_bytes;  // Of one request.
  RunTimes times;
};

// Written before each fsync.
inline constexpr std::uint64_t bytes_per_fsync = 16U << 20;

// One read at a time, far shorter than looking at a clock: timed in batches, whose mean is the
// sample. `read(offset)` must not fail.
template <typename Read>
[[nodiscard]] RunResult time_single_reads(const ReadOrder& order, const RunTimes& times,
                                          Read read) {
  constexpr unsigned batch = 64;
  std::uint64_t n = 0;
  const auto read_batch = [&] {
    for (unsigned i = 0; i < batch; ++i)
      read(order.offset(n++));
  };
  const std::uint64_t warm_until_ns = monotonic_ns() + times.warm_up_ns;
  do {
    read_batch();
  } while (monotonic_ns() < warm_until_ns);
  const auto latencies = std::make_unique<LatencyHistogram>();
  const ProcessCost before = ProcessCost::now();
  const std::uint64_t opened_ns = monotonic_ns();
  std::uint64_t now_ns = opened_ns;
  while (now_ns - opened_ns < times.measured_ns && interrupted_by() == 0) {
    read_batch();
    const std::uint64_t ended_ns = monotonic_ns();
    latencies->add((ended_ns - now_ns) / batch);
    now_ns = ended_ns;
  }
  stop_bench_if_interrupted();
  return result_of(*latencies, batch, now_ns - opened_ns, before, ProcessCost::now());
}

// One request after the other, from the file's beginning to its end and over again.
// `request(offset)` must not fail.
template <typename Request>
[[nodiscard]] RunResult time_in_order(const InOrder& load, Request request) {
  MeasuredWindow window(monotonic_ns() + load.times.warm_up_ns, load.times.measured_ns);
  std::uint64_t started_ns = monotonic_ns();
  for (std::uint64_t offset = 0; !window.closed() && interrupted_by() == 0;
       offset = (offset + load.bytes) % load.file_bytes) {
    request(offset);
    const std::uint64_t now_ns = monotonic_ns();
    window.add_end(started_ns, now_ns);
    started_ns = now_ns;
  }
  stop_bench_if_interrupted();
  return window.result();
}

}  // namespace tool
