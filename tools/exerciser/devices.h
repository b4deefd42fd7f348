// The devices that the exerciser runs on, by name.
#pragma once

#include <handback/block_device.h>
#include <handback/sim.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace exerciser {

// Time that goes on with each look, so that an episode on a device in memory runs the same way
// twice. Two threads may look.
class TickingClock final : public handback::Environment {
 public:
  explicit TickingClock(std::uint64_t seed) : random_(seed) {}
  [[nodiscard]] std::uint64_t monotonic_ns() noexcept override;
  [[nodiscard]] std::int64_t realtime_ns() noexcept override;
  void random_bytes(std::span<std::byte> to) override;

 private:
  std::atomic<std::uint64_t> now_ns_{1'000'000'000};
  handback::sim::SimRandom random_;
};

struct DeviceKind {
  const char* name;
  bool volatile_cache = false;
  bool fua = false;
  std::uint32_t logical_block_bytes = 4096;
  bool checksums = false;
  bool two_threads = false;
  enum class On : unsigned char { memory, io_uring, threads, simulated } on = On::memory;
  // Of a simulated one: what happens to it.
  bool faults = false;
  bool power_cuts = false;
};

[[nodiscard]] const std::vector<DeviceKind>& device_kinds();
[[nodiscard]] const DeviceKind* find_device_kind(std::string_view name);

inline constexpr std::uint64_t device_bytes = 16U << 20;

// A device of that kind; of one on the host, with the file that it is.
struct Device {
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();

  std::string path;                                     // Removed with it.
  std::unique_ptr<handback::sim::SimEnvironment> time;  // Of a simulated one.
  std::unique_ptr<handback::BlockDevice> device;
  handback::sim::SimDevice* simulated = nullptr;
};
// Null, with the reason, where the host does not have it.
[[nodiscard]] std::unique_ptr<Device> make_device(const DeviceKind& kind, std::string* why_not);

}  // namespace exerciser
