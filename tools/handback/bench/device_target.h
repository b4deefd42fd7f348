// A device that may be written over: a blank block device, or a host file that is made for it.
#pragma once

#include <cstdint>
#include <string>

#include "handback/bench/bench_files.h"
#include "handback/bench/device_load.h"

namespace tool {

class DeviceTarget {
 public:
  // A path that does not exist becomes a host file, removed at the end. A block device must be
  // blank and unused; its first and last MiB are left as they are, so that it stays so. Every block
  // of the area is written. Throws Failure, also when a signal stopped it.
  DeviceTarget(const std::string& path, std::uint64_t area_bytes);

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const DeviceArea& area() const noexcept { return area_; }
  // Without the path: "block-device", "host-file".
  [[nodiscard]] const std::string& kind() const noexcept { return kind_; }
  // "a block device", "a host file on ext4".
  [[nodiscard]] const std::string& description() const noexcept { return description_; }

 private:
  void take_block_device(std::uint64_t area_bytes);

  std::string path_;
  BenchFiles files_;
  DeviceArea area_;
  std::string kind_;
  std::string description_;
};

}  // namespace tool
