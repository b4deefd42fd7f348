// The device behind make_deadline_device().
#pragma once

#include <handback/deadline_device.h>

#include <memory>
#include <string>

namespace handback {

class DeadlineDevice final : public BlockDevice {
 public:
  DeadlineDevice(BlockDevice& inner, std::unique_ptr<BlockDevice> owned,
                 const DeadlineOptions& options);
  // Requires: every queue is closed.
  ~DeadlineDevice() override;

  [[nodiscard]] const Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override;
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override;

  [[nodiscard]] BlockDevice& inner() const noexcept;
  // Polls the closed queues of this thread that still wait for answers.
  [[nodiscard]] std::uint64_t overdue();

  // What must outlive the device if bios are overdue when it goes.
  class Core;

 private:
  std::unique_ptr<Core> core_;
  const Geometry& geometry_;  // Of the device below.
};

}  // namespace handback
