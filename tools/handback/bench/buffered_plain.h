// The same reads and writes without a volume: memory, and the page cache of the host's kernel.
#pragma once

#include <memory>
#include <string>

#include "handback/bench/buffered_load.h"

namespace tool {

// Copies of blocks of `bytes` of memory: what every read from a cache does at least.
[[nodiscard]] RunResult copy_memory(std::uint64_t bytes, const ReadOrder& order,
                                    const RunTimes& times);

// A written file on the host, opened without O_DIRECT, removed at the end. Everything throws
// Failure, also when a signal stopped it.
class BufferedPlain {
 public:
  BufferedPlain(const std::string& directory, std::uint64_t file_bytes);
  BufferedPlain(const BufferedPlain&) = delete;
  BufferedPlain& operator=(const BufferedPlain&) = delete;
  ~BufferedPlain();

  [[nodiscard]] const std::string& file_system() const { return file_system_; }

  // pread() of the first `bytes`, which are in the page cache.
  [[nodiscard]] RunResult read_hits(std::uint64_t bytes, const ReadOrder& order,
                                    const RunTimes& times);
  // Through io_uring, with nothing of the file in the page cache at first. Ends when each block
  // was read once.
  [[nodiscard]] RunResult read_at_depth(const RandomReads& load);
  [[nodiscard]] RunResult read_in_order(const InOrder& load);
  [[nodiscard]] RunResult write_in_order(const InOrder& load);

 private:
  void drop_cache();
  void advise(int advice);

  std::string file_system_;
  BenchFiles files_;
  std::string path_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tool
