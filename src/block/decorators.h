// Devices on top of devices: they forward everything, and a subclass changes what it is about.
//
// The inner device is borrowed and outlives the decorator; the inner queue is owned.
#pragma once

#include <handback/block_device.h>

#include <utility>

namespace handback {

class BlockQueueDecorator : public BlockQueue, public RegistersBuffers {
 public:
  void submit(Bio* chain) noexcept override { inner_->submit(chain); }
  void kick() noexcept override { inner_->kick(); }
  unsigned poll() noexcept override { return inner_->poll(); }
  void wait(std::int64_t timeout_ns) noexcept override { inner_->wait(timeout_ns); }
  [[nodiscard]] int wait_fd() noexcept override { return inner_->wait_fd(); }

  bool register_buffer(std::span<std::byte> memory) noexcept override {
    return inner_registers_ != nullptr && inner_registers_->register_buffer(memory);
  }
  void unregister_buffer(std::span<std::byte> memory) noexcept override {
    if (inner_registers_ != nullptr) inner_registers_->unregister_buffer(memory);
  }

 protected:
  explicit BlockQueueDecorator(std::unique_ptr<BlockQueue> inner)
      : inner_(std::move(inner)), inner_registers_(dynamic_cast<RegistersBuffers*>(inner_.get())) {}
  [[nodiscard]] BlockQueue& inner() noexcept { return *inner_; }

 private:
  std::unique_ptr<BlockQueue> inner_;
  RegistersBuffers* inner_registers_;  // Of inner_; null if it has none.
};

class BlockDeviceDecorator : public BlockDevice {
 public:
  [[nodiscard]] const Geometry& geometry() const noexcept override { return inner_.geometry(); }
  [[nodiscard]] const std::string& name() const noexcept override { return inner_.name(); }
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override {
    return inner_.open_queue(wake_fd);
  }

 protected:
  explicit BlockDeviceDecorator(BlockDevice& inner) noexcept : inner_(inner) {}
  [[nodiscard]] BlockDevice& inner() noexcept { return inner_; }

 private:
  BlockDevice& inner_;
};

}  // namespace handback
