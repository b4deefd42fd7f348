// The same appends on a file system of the kernel, in the way it carries them best.
//
// O_DIRECT, and RWF_DSYNC on each write: what an append needs to be durable, and no more. O_DSYNC
// on the descriptor would be the same to the kernel; the flag is the twin of our DSYNC, which
// belongs to the request as well. These ways are tried, since file systems differ in what they can
// do in parallel: one file through a ring, a file for each append in flight through a ring, and a
// thread with a file for each, which spares an extending write the way through the ring's workers.
// Each ring sleeps at once, or looks for completions first, as a device of ours does by itself.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "handback/bench/append_load.h"
#include "handback/bench/bench_files.h"

namespace tool {

enum class PlainWay { ring_one_file, ring_one_file_busy, ring_files, ring_files_busy, threads };

class AppendPlain final : public AppendTarget {
 public:
  // Makes a folder in `directory` and removes it at the end. Throws Failure.
  explicit AppendPlain(const std::string& directory);

  [[nodiscard]] RunResult append(const AppendLoad& load) override;
  void choose_way(const AppendLoad& trial) override;
  [[nodiscard]] std::string name() const override { return name_; }
  [[nodiscard]] std::string place() const override { return place_; }
  [[nodiscard]] std::string way(unsigned inflight) const override;

 private:
  [[nodiscard]] RunResult append_by(PlainWay way, const AppendLoad& load) const;

  std::string name_;
  std::string place_;
  BenchFiles files_;
  std::string folder_;
  std::map<unsigned, PlainWay> ways_;  // By number in flight.
};

}  // namespace tool
