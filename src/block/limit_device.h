// A device that announces, and enforces, a narrower geometry than the one below it.
#pragma once

#include "block/decorators.h"

namespace handback {

class LimitDevice final : public BlockDeviceDecorator {
 public:
  // Requires: `announced` is sound and no wider than the inner geometry: not larger, nothing finer,
  // no fua that the inner device would refuse. Aborts otherwise.
  LimitDevice(BlockDevice& inner, const Geometry& announced);

  [[nodiscard]] const Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override;

 private:
  Geometry geometry_;
  std::string name_;
};

}  // namespace handback
