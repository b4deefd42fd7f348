#include <handback/memory_device.h>
#include <sys/mman.h>

#include <cstring>
#include <new>

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
    std::byte* at = bytes_ + bio.addr;
    for (unsigned i = 0; i < bio.segment_count; ++i) {
      const iovec& segment = bio.segments[i];
      if (bio.op == BioOp::read) {
        std::memcpy(segment.iov_base, at, segment.iov_len);
      } else {
        std::memcpy(at, segment.iov_base, segment.iov_len);
      }
      at += segment.iov_len;
    }
    return IoResult::success(bio.length);
  }

 private:
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
};

}  // namespace

std::unique_ptr<BlockDevice> make_memory_device(const MemoryDeviceOptions& options) {
  return std::make_unique<MemoryDevice>(geometry_from_options(options));
}

}  // namespace handback
