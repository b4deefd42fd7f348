// What durable appends cost the device itself: bare io_uring, with no file system and no volume.
//
// An append of 4 KiB that survives a crash needs its data and something that says so: two writes of
// 4 KiB, submitted together since the checksum in one makes up for their order, and both durable.
// These ways are tried, since devices differ: each write with RWF_DSYNC, or both plain with one
// fdatasync behind them; a record for each append, or one for all that start together, as group
// commit has it; the ring sleeps at once, or looks for completions first.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/host_fd.h"
#include "common/volume_session.h"
#include "handback/bench/append_load.h"
#include "handback/bench/bench_files.h"

namespace tool {

struct DeviceWay {
  bool flush = false;          // fdatasync behind plain writes, instead of RWF_DSYNC.
  bool shared_record = false;  // One for all that start together.
  bool busy = false;
};

class AppendDevice final : public AppendTarget {
 public:
  // A path that does not exist is made, as a written host file, and removed at the end. A block
  // device must look blank, and does so afterwards: its first and last MiB are left alone.
  // Throws Failure.
  AppendDevice(const std::string& path, std::uint64_t bytes_max, const SessionOptions& options);

  [[nodiscard]] RunResult append(const AppendLoad& load) override;
  void choose_way(const AppendLoad& trial) override;
  [[nodiscard]] std::string name() const override { return "device"; }
  [[nodiscard]] std::string place() const override { return place_; }
  [[nodiscard]] std::string way(unsigned inflight) const override;

 private:
  std::string place_;
  std::uint64_t size_bytes_ = 0;
  BenchFiles files_;
  HostFd host_;
  std::map<unsigned, DeviceWay> ways_;  // By number in flight.
};

}  // namespace tool
