#include <handback/memory_device.h>

#include "memory/geometry_from_options.h"
#include "memory/instant_queue.h"

namespace handback {
namespace {

class NullDevice final : public BlockDevice {
 public:
  explicit NullDevice(const Geometry& geometry) : geometry_(geometry) {
    geometry_.stores_data = false;
  }

  [[nodiscard]] const Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override {
    return std::make_unique<InstantQueue<NullDevice>>(*this, wake_fd);
  }

  IoResult carry_out(Bio& bio) noexcept { return IoResult::success(bio.length); }

 private:
  Geometry geometry_;
  std::string name_ = "null";
};

}  // namespace

std::unique_ptr<BlockDevice> make_null_device(const MemoryDeviceOptions& options) {
  return std::make_unique<NullDevice>(geometry_from_options(options));
}

}  // namespace handback
