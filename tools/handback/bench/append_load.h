// Durable appends of 4 KiB, kept at a number in flight for a time, and what they go to.
#pragma once

#include <cstdint>
#include <string>

#include "handback/bench/measured_window.h"

namespace tool {

inline constexpr std::uint32_t append_bytes = 4096;

struct AppendLoad {
  unsigned inflight = 1;
  std::uint64_t warm_up_ns = 0;  // Before anything is counted.
  std::uint64_t measured_ns = 0;
  std::uint64_t bytes_max = 0;  // The run ends early when this much was appended.
};

class AppendTarget {
 public:
  AppendTarget() = default;
  AppendTarget(const AppendTarget&) = delete;
  AppendTarget& operator=(const AppendTarget&) = delete;
  virtual ~AppendTarget() = default;

  // Appends to new files and removes them. Throws Failure, also when a signal stopped it.
  [[nodiscard]] virtual RunResult append(const AppendLoad& load) = 0;

  // Makes up its mind how to carry such a load best, by trying. Throws Failure.
  virtual void choose_way(const AppendLoad& trial) = 0;

  // "handback", "ext4", "xfs", "device".
  [[nodiscard]] virtual std::string name() const = 0;
  // What carries it, without paths: "a block device, write back".
  [[nodiscard]] virtual std::string place() const = 0;
  // How that many in flight are carried: "one file, io_uring". Requires: choose_way() of it.
  [[nodiscard]] virtual std::string way(unsigned inflight) const = 0;
};

// Closes the window of a load that ended; throws Failure if nothing of it counted.
[[nodiscard]] RunResult result_of(MeasuredWindow& window, std::uint64_t last_end_ns,
                                  const AppendLoad& load);

}  // namespace tool
