// What a benchmark writes to: a file in a volume of its own, or the null device as a file.
#pragma once

#include <handback/host_device.h>
#include <handback/volume.h>
#include <cstdint>
#include <memory>
#include <string>

#include "handback/bench/bench_files.h"

namespace tool {

struct BenchTargetOptions {
  std::string device;  // "null", "mem", or a path.
  std::uint64_t file_bytes = 0;
  bool overwrite_device = false;  // The path is a block device, and may be written to.
  handback::HostEngine engine = handback::HostEngine::automatic;
};

class BenchTarget {
 public:
  // Makes the device, a volume on it and a written file in that. A path must be new, and is removed
  // at the end; a block device must be blank, or hold the volume of an earlier benchmark, and is
  // left with this one's. Throws Failure, also when a signal stopped it.
  explicit BenchTarget(const BenchTargetOptions& options);
  BenchTarget(const BenchTarget&) = delete;
  BenchTarget& operator=(const BenchTarget&) = delete;
  ~BenchTarget();

  [[nodiscard]] handback::BlockDevice& device() { return *device_; }
  [[nodiscard]] handback::File& file() { return *file_; }
  // The issuer that opened the volume; of the thread that made this.
  [[nodiscard]] handback::Issuer& issuer() { return *issuer_; }
  // Of a volume, so not of "null".
  [[nodiscard]] handback::VolumeFile& volume_file() { return *volume_file_; }

  // Closes the volume and opens it with other options, with nothing in its page cache: file() is
  // another one then. Requires: not "null", nothing in flight. Throws Failure.
  void reopen(const handback::VolumeOptions& options);
  // Which part of a page or plot this is about, without paths: "null", "mem", "host-file", ...
  [[nodiscard]] const std::string& kind() const { return kind_; }
  // "a host file on ext4, by io_uring"
  [[nodiscard]] const std::string& description() const { return description_; }

 private:
  void open_host(const BenchTargetOptions& options);
  void make_volume(const std::string& what, std::uint64_t file_bytes, bool overwrite);

  std::string kind_;
  std::string description_;
  // Each needs those before it until its end.
  BenchFiles files_;
  std::unique_ptr<handback::BlockDevice> device_;
  std::unique_ptr<handback::Issuer> issuer_;
  std::unique_ptr<handback::Volume> volume_;
  std::unique_ptr<handback::File> device_file_;
  std::unique_ptr<handback::VolumeFile> volume_file_;
  handback::File* file_ = nullptr;  // One of these.
};

}  // namespace tool
