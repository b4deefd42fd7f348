// The device behind open_host_device().
#pragma once

#include <handback/host_device.h>

#include <memory>

#include "ring/host_file.h"
#include "ring/thread_pool.h"
#include "ring/uring.h"

namespace handback {

class HostBlockDevice final : public BlockDevice {
 public:
  // With a pool the device uses it, else io_uring with what `allowed` does not forbid.
  HostBlockDevice(std::unique_ptr<HostFile> file, std::unique_ptr<Geometry> geometry,
                  std::unique_ptr<ThreadPool> pool, const HostDeviceOptions& options,
                  const UringFeatures& allowed);

  [[nodiscard]] const Geometry& geometry() const noexcept override { return *geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override { return file_->path(); }
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override;

  [[nodiscard]] bool uses_threads() const noexcept { return pool_ != nullptr; }

 private:
  // The pool uses file and geometry, which therefore do not move, and must be destroyed after it.
  std::unique_ptr<HostFile> file_;
  std::unique_ptr<Geometry> geometry_;
  std::unique_ptr<ThreadPool> pool_;
  unsigned queue_depth_;
  std::int64_t busy_wait_ns_max_;
  UringFeatures allowed_;
};

// As open_host_device(), with features of io_uring taken away.
[[nodiscard]] Result<std::unique_ptr<BlockDevice>> open_host_device_with(
    const std::string& path, const HostDeviceOptions& options, const UringFeatures& allowed);

}  // namespace handback
