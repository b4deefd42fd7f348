#include "exerciser/devices.h"

#include <handback/host_device.h>
#include <handback/memory_device.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace exerciser {

using On = DeviceKind::On;

std::uint64_t TickingClock::monotonic_ns() noexcept {
  return now_ns_.fetch_add(2'000, std::memory_order_relaxed);
}
std::int64_t TickingClock::realtime_ns() noexcept {
  return static_cast<std::int64_t>(monotonic_ns());
}
void TickingClock::random_bytes(std::span<std::byte> to) {
  for (std::byte& byte : to)
    byte = static_cast<std::byte>(random_());
}

const std::vector<DeviceKind>& device_kinds() {
  static const std::vector<DeviceKind> kinds = {
      {.name = "memory"},
      {.name = "memory-512", .logical_block_bytes = 512},
      {.name = "cache", .volatile_cache = true},
      {.name = "cache-512", .volatile_cache = true, .logical_block_bytes = 512},
      {.name = "fua", .volatile_cache = true, .fua = true},
      {.name = "checksums", .volatile_cache = true, .checksums = true},
      {.name = "checksums-512", .logical_block_bytes = 512, .checksums = true},
      {.name = "io-uring", .logical_block_bytes = 0, .on = On::io_uring},
      {.name = "threads", .logical_block_bytes = 0, .on = On::threads},
      {.name = "sim", .on = On::simulated},
      {.name = "sim-512", .volatile_cache = true, .logical_block_bytes = 512, .on = On::simulated},
      {.name = "sim-checksums",
       .volatile_cache = true,
       .checksums = true,
       .on = On::simulated,
       .power_cuts = true},
      {.name = "sim-faults", .volatile_cache = true, .on = On::simulated, .faults = true},
      {.name = "sim-faults-512", .logical_block_bytes = 512, .on = On::simulated, .faults = true},
      {.name = "sim-power", .volatile_cache = true, .on = On::simulated, .power_cuts = true},
      {.name = "sim-power-fua",
       .volatile_cache = true,
       .fua = true,
       .logical_block_bytes = 512,
       .on = On::simulated,
       .power_cuts = true},
      {.name = "two-threads", .two_threads = true},
      {.name = "two-threads-cache",
       .volatile_cache = true,
       .logical_block_bytes = 512,
       .two_threads = true},
      {.name = "two-threads-checksums", .checksums = true, .two_threads = true},
      {.name = "two-threads-uring",
       .logical_block_bytes = 0,
       .two_threads = true,
       .on = On::io_uring},
      {.name = "two-threads-threads",
       .logical_block_bytes = 0,
       .two_threads = true,
       .on = On::threads},
  };
  return kinds;
}

const DeviceKind* find_device_kind(std::string_view name) {
  for (const DeviceKind& kind : device_kinds()) {
    if (name == kind.name) return &kind;
  }
  return nullptr;
}

Device::~Device() {
  device.reset();
  if (!path.empty()) ::unlink(path.c_str());
}

std::unique_ptr<Device> make_device(const DeviceKind& kind, std::string* why_not) {
  auto made = std::make_unique<Device>();
  if (kind.on == On::memory) {
    made->device = handback::make_memory_device({.size_bytes = device_bytes,
                                                 .logical_block_bytes = kind.logical_block_bytes,
                                                 .volatile_cache = kind.volatile_cache,
                                                 .fua = kind.fua});
    return made;
  }
  if (kind.on == On::simulated) {
    made->time = std::make_unique<handback::sim::SimEnvironment>(1);
    auto simulated = std::make_unique<handback::sim::SimDevice>(
        *made->time,
        handback::sim::SimDeviceOptions{.size_bytes = device_bytes / 2,
                                        .logical_block_bytes = kind.logical_block_bytes,
                                        .volatile_cache = kind.volatile_cache,
                                        .fua = kind.fua});
    made->simulated = simulated.get();
    made->device = std::move(simulated);
    return made;
  }
  const char* folder = std::getenv("TMPDIR");
  std::string path = std::string(folder == nullptr ? "/tmp" : folder) + "/handback-exerciser-" +
                     std::to_string(::getpid()) + "-" + kind.name;
  ::unlink(path.c_str());
  auto created = handback::create_host_file(path, device_bytes);
  if (!created) {
    *why_not = created.error().message();
    return nullptr;
  }
  made->path = path;
  auto opened = handback::open_host_device(
      path, {.engine = kind.on == On::io_uring ? handback::HostEngine::io_uring
                                               : handback::HostEngine::threads});
  if (!opened) {
    *why_not = opened.error().message();
    return nullptr;
  }
  made->device = std::move(*opened);
  return made;
}

}  // namespace exerciser
