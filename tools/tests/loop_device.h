// A block device for the length of a test.
#pragma once

#include <string>

#include "tests/program.h"

namespace tool::testing {

// None where the host does not let us: then the path is empty.
class LoopDevice {
 public:
  explicit LoopDevice(const std::string& file) {
    const Ran ran = run_program("/sbin/losetup", {"--find", "--show", file});
    if (ran.exit_code == 0) path_ = ran.out.substr(0, ran.out.find('\n'));
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  ~LoopDevice() {
    if (!path_.empty()) run_program("/sbin/losetup", {"--detach", path_});
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace tool::testing
