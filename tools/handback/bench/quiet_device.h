// A device that keeps what it is given, and from one moment on nothing any more: then a bio ends at
// the next poll with none of its bytes moved, as on the null device. A volume that was made on it
// lives on with its metadata in memory, and can be measured without a device below.
#pragma once

#include <handback/block_device.h>
#include <handback/memory_device.h>
#include <memory>
#include <string>

namespace tool {

class QuietDevice final : public handback::BlockDevice {
 public:
  explicit QuietDevice(const handback::MemoryDeviceOptions& options)
      : memory_(handback::make_memory_device(options)),
        null_(handback::make_null_device(options)) {}

  // Requires: nothing in flight.
  void be_quiet() noexcept { quiet_ = true; }

  [[nodiscard]] const handback::Geometry& geometry() const noexcept override {
    return memory_->geometry();
  }
  [[nodiscard]] const std::string& name() const noexcept override { return memory_->name(); }
  [[nodiscard]] handback::Result<std::unique_ptr<handback::BlockQueue>> open_queue(
      int wake_fd) override {
    auto memory = memory_->open_queue(wake_fd);
    if (!memory) return memory;
    auto null = null_->open_queue(wake_fd);
    if (!null) return null;
    return std::make_unique<Queue>(*this, std::move(*memory), std::move(*null));
  }

 private:
  class Queue final : public handback::BlockQueue {
   public:
    Queue(const QuietDevice& device, std::unique_ptr<handback::BlockQueue> memory,
          std::unique_ptr<handback::BlockQueue> null)
        : device_(device), memory_(std::move(memory)), null_(std::move(null)) {}
    void submit(handback::Bio* chain) noexcept override { now().submit(chain); }
    void kick() noexcept override { now().kick(); }
    unsigned poll() noexcept override { return now().poll(); }
    void wait(std::int64_t timeout_ns) noexcept override { now().wait(timeout_ns); }
    [[nodiscard]] int wait_fd() noexcept override { return now().wait_fd(); }

   private:
    [[nodiscard]] handback::BlockQueue& now() noexcept {
      return device_.quiet_ ? *null_ : *memory_;
    }

    const QuietDevice& device_;
    std::unique_ptr<handback::BlockQueue> memory_;
    std::unique_ptr<handback::BlockQueue> null_;
  };

  std::unique_ptr<handback::BlockDevice> memory_;
  std::unique_ptr<handback::BlockDevice> null_;
  bool quiet_ = false;
};

}  // namespace tool
