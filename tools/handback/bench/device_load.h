// Requests to a bare device, kept at a depth for a time: through our stack, and by hand-written
// io_uring.
#pragma once

#include <handback/host_device.h>
#include <cstdint>
#include <string>
#include <string_view>

#include "handback/bench/measured_window.h"
#include "handback/bench/overwrite_load.h"

namespace tool {

enum class DeviceAccess : std::uint8_t {
  random_read,
  random_overwrite,
  sequential_read,
  sequential_overwrite,
};
inline constexpr DeviceAccess device_accesses[] = {
    DeviceAccess::random_read, DeviceAccess::random_overwrite, DeviceAccess::sequential_read,
    DeviceAccess::sequential_overwrite};

[[nodiscard]] std::string_view to_string(DeviceAccess access) noexcept;
[[nodiscard]] bool is_write(DeviceAccess access) noexcept;
[[nodiscard]] bool is_sequential(DeviceAccess access) noexcept;
// 4 KiB of what is random, 128 KiB of what is sequential.
[[nodiscard]] std::uint32_t request_bytes(DeviceAccess access) noexcept;

// The part of the device that the requests go to.
struct DeviceArea {
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;
};

struct DeviceLoad {
  DeviceAccess access = DeviceAccess::random_read;
  unsigned depth = 1;
  DeviceArea area;
  std::uint64_t seed = 1;
  std::uint64_t warm_up_ns = 0;
  std::uint64_t measured_ns = 0;
  // Looks for a completion for a while before it sleeps (HostDeviceOptions::busy_wait_us_max).
  bool busy = false;
};

// The same offsets for all that are compared.
class DeviceOffsets {
 public:
  explicit DeviceOffsets(const DeviceLoad& load)
      : random_(load.seed, load.area.bytes),
        area_(load.area),
        sequential_(is_sequential(load.access)),
        bytes_(request_bytes(load.access)) {}

  std::uint64_t next() noexcept {
    if (!sequential_) return area_.begin + random_.next();
    const std::uint64_t offset = area_.begin + next_;
    next_ += bytes_;
    if (next_ + bytes_ > area_.bytes) next_ = 0;
    return offset;
  }

 private:
  OffsetSource random_;
  DeviceArea area_;
  bool sequential_;
  std::uint32_t bytes_;
  std::uint64_t next_ = 0;
};

// Throw Failure, also when a signal stopped it.
[[nodiscard]] RunResult run_handback(const std::string& path, handback::HostEngine engine,
                                     const DeviceLoad& load);
[[nodiscard]] RunResult run_plain(const std::string& path, const DeviceLoad& load);

}  // namespace tool
