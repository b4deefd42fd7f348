#include <handback/memory_device.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <new>

#include "base/leaf_lock.h"
#include "base/planted_bug.h"
#include "memory/geometry_from_options.h"
#include "memory/instant_queue.h"

namespace handback {
namespace {

class MemoryDevice final : public BlockDevice {
 public:
  explicit MemoryDevice(const Geometry& geometry)
      : geometry_(geometry), bytes_(map(geometry.size_bytes)) {}
  ~MemoryDevice() override { ::munmap(bytes_, geometry_.size_bytes); }

  [[nodiscard]] const Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override {
    return std::make_unique<InstantQueue<MemoryDevice>>(*this, wake_fd);
  }

  IoResult carry_out(Bio& bio) noexcept {
    std::uint64_t addr = bio.addr;
    const unsigned segments =
        planted(PlantedBug::memory_device_drops_segments) ? 1 : bio.segment_count;
    for (unsigned i = 0; i < segments; ++i) {
      const iovec& segment = bio.segments[i];
      auto* memory = static_cast<std::byte*>(segment.iov_base);
      std::uint64_t left = segment.iov_len;
      while (left != 0) {
        const std::uint64_t length = std::min(left, stripe_bytes - addr % stripe_bytes);
        copy(bio.op, addr, memory, length);
        addr += length;
        memory += length;
        left -= length;
      }
    }
    return IoResult::success(bio.length);
  }

 private:
  // Requests of several threads may overlap, as they may on any drive; the outcome for each sector
  // is then one of them. Without a lock it would be a data race. A stripe is a multiple of every
  // sector size.
  static constexpr std::uint64_t stripe_bytes = 64 << 10;
  struct alignas(64) Stripe {
    LeafLock lock;
  };

  // Within one stripe.
  void copy(BioOp op, std::uint64_t addr, std::byte* memory, std::uint64_t length) noexcept {
    const std::lock_guard guard(stripes_[addr / stripe_bytes % stripes_.size()].lock);
    if (op == BioOp::read) {
      std::memcpy(memory, bytes_ + addr, length);
    } else {
      std::memcpy(bytes_ + addr, memory, length);
    }
  }

  // Pages come into being when they are touched, so that a large device costs what was written to
  // it.
  static std::byte* map(std::uint64_t size_bytes) {
    void* const memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return static_cast<std::byte*>(memory);
  }

  Geometry geometry_;
  std::string name_ = "memory";
  std::byte* bytes_;
  std::array<Stripe, 64> stripes_;
};

}  // namespace

std::unique_ptr<BlockDevice> make_memory_device(const MemoryDeviceOptions& options) {
  return std::make_unique<MemoryDevice>(geometry_from_options(options));
}

}  // namespace handback
