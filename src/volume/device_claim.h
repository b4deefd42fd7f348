// A volume's hold on its device within this process; the device's own lock keeps other processes
// away.
#pragma once

#include <handback/block_device.h>

#include <utility>

namespace handback {

class DeviceClaim {
 public:
  // Errors: busy.
  [[nodiscard]] static Result<DeviceClaim> take(BlockDevice& device, bool for_writing) {
    if (device.try_claim(for_writing)) return DeviceClaim(device);
    return fail(Errc::busy,
                device.name() + ": this process has the volume open already; close it first");
  }

  DeviceClaim(DeviceClaim&& other) noexcept : device_(std::exchange(other.device_, nullptr)) {}
  DeviceClaim& operator=(DeviceClaim&& other) noexcept {
    std::swap(device_, other.device_);
    return *this;
  }
  ~DeviceClaim() {
    if (device_ != nullptr) device_->release_claim();
  }

 private:
  explicit DeviceClaim(BlockDevice& device) noexcept : device_(&device) {}
  BlockDevice* device_;
};

}  // namespace handback
