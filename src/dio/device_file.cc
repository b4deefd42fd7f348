// A whole block device as a File: the engine without a mapper's decisions.
#include <handback/iomap.h>
#include <cstring>
#include <new>

#include "base/assert.h"
#include "dio/flush.h"

namespace handback {
namespace {

class DeviceFile final : public File, private IomapOps, private DioOps {
 public:
  explicit DeviceFile(BlockDevice& device) : DioOps({.name = "device file"}), device_(device) {}

  Outcome read_iter(Kiocb& kiocb, IovView to) noexcept override {
    if (kiocb.is_write()) return IoResult::failure(Errc::invalid, IoDetail::flag_direction);
    return dio_rw(kiocb, to, request());
  }

  Outcome write_iter(Kiocb& kiocb, IovView from) noexcept override {
    if (!kiocb.is_write()) return IoResult::failure(Errc::invalid, IoDetail::flag_direction);
    if (device_.geometry().read_only) return IoResult::failure(Errc::read_only);
    if (has(kiocb.ki_flags, KiocbFlags::append)) {
      // A device has no end to append at that could move.
      return IoResult::failure(Errc::no_space);
    }
    return dio_rw(kiocb, from, request());
  }

 private:
  [[nodiscard]] DioRequest request() noexcept {
    return {.device = &device_, .iomap_ops = this, .dio_ops = this, .inflight = nullptr};
  }

  IoResult iomap_begin(Kiocb& /*kiocb*/, const IomapRequest& asked,
                       Iomap* iomap) noexcept override {
    const std::uint64_t size = device_.geometry().size_bytes;
    if (asked.offset >= size || asked.length > size - asked.offset) {
      return IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
    }
    *iomap = Iomap{.offset = 0, .length = size, .addr = 0, .type = IomapType::mapped};
    return {};
  }
  [[nodiscard]] std::uint32_t fs_block_bytes() const noexcept override {
    return device_.geometry().logical_block_bytes;
  }

  Outcome end_io(Kiocb& /*kiocb*/, const DioEnd& end) noexcept override { return end.result; }

  Outcome write_sync(Kiocb& kiocb, const DioEnd& end) noexcept override {
    return flush_then_end(kiocb, device_, end.result);
  }
  [[nodiscard]] bool is_extending(std::uint64_t /*end_offset*/) const noexcept override {
    return false;
  }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override {
    return device_.geometry().size_bytes;
  }

  BlockDevice& device_;
};

}  // namespace

std::unique_ptr<File> make_device_file(BlockDevice& device) {
  return std::make_unique<DeviceFile>(device);
}

}  // namespace handback
