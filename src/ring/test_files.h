// Host files and loop devices that are gone when a test ends. For tests only.
#pragma once

#include <fcntl.h>
#include <handback/host_device.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "ring/unique_fd.h"

namespace handback::testing {

class TempFolder {
 public:
  TempFolder() {
    std::string path = (std::filesystem::temp_directory_path() / "handback_test_XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) std::abort();
    path_ = path;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code none;
    std::filesystem::remove_all(path_, none);
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] bool is_empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::string path_;
};

// A block device whose bytes are those of a file.
class LoopDevice {
 public:
  // Fails with a sentence that says why this host has none to give.
  [[nodiscard]] static tl::expected<std::unique_ptr<LoopDevice>, std::string> attach(
      const std::string& file, unsigned long block_bytes = 512) {
    const UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control.valid()) return tl::unexpected(reason("cannot open /dev/loop-control"));
    const UniqueFd backing(::open(file.c_str(), O_RDWR | O_CLOEXEC));
    if (!backing.valid()) return tl::unexpected(reason("cannot open " + file));
    for (;;) {
      const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
      if (number < 0) return tl::unexpected(reason("no loop device is free"));
      const std::string path = "/dev/loop" + std::to_string(number);
      UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
      if (!fd.valid()) return tl::unexpected(reason("cannot open " + path));
      if (::ioctl(fd.get(), LOOP_SET_FD, backing.get()) == 0) {
        std::unique_ptr<LoopDevice> device(new LoopDevice(path, std::move(fd)));
        if (::ioctl(device->fd_.get(), LOOP_SET_BLOCK_SIZE, block_bytes) == 0) return device;
        return tl::unexpected(reason("cannot set the block size of " + path));
      }
      if (errno != EBUSY) return tl::unexpected(reason("cannot attach " + path));
      // Another test was faster with this one.
    }
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  ~LoopDevice() { ::ioctl(fd_.get(), LOOP_CLR_FD); }

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  LoopDevice(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  static std::string reason(const std::string& what) { return what + ": " + std::strerror(errno); }

  std::string path_;
  UniqueFd fd_;
};

inline void make_file(const std::string& path, std::uint64_t size_bytes) {
  if (auto made = create_host_file(path, size_bytes); !made) {
    throw std::runtime_error(made.error().message());
  }
}

}  // namespace handback::testing
