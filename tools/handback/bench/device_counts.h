// How many writes and flushes reach a device.
#pragma once

#include <handback/block_device.h>
#include <cstdint>
#include <memory>
#include <string>

namespace tool {

struct DeviceCounts {
  std::uint64_t writes = 0;
  std::uint64_t fua_writes = 0;  // Of the writes.
  std::uint64_t flushes = 0;

  friend bool operator==(const DeviceCounts&, const DeviceCounts&) = default;
};

// Passes everything on and counts it. For one thread.
class CountingDevice final : public handback::BlockDevice {
 public:
  explicit CountingDevice(std::unique_ptr<handback::BlockDevice> inner)
      : inner_(std::move(inner)) {}

  [[nodiscard]] const handback::Geometry& geometry() const noexcept override {
    return inner_->geometry();
  }
  [[nodiscard]] const std::string& name() const noexcept override { return inner_->name(); }
  [[nodiscard]] handback::Result<std::unique_ptr<handback::BlockQueue>> open_queue(
      int wake_fd) override {
    auto queue = inner_->open_queue(wake_fd);
    if (!queue) return queue;
    return std::make_unique<Queue>(*this, std::move(*queue));
  }

  [[nodiscard]] const DeviceCounts& counts() const noexcept { return counts_; }

 private:
  class Queue final : public handback::BlockQueue {
   public:
    Queue(CountingDevice& device, std::unique_ptr<handback::BlockQueue> inner)
        : device_(device), inner_(std::move(inner)) {}
    void submit(handback::Bio* chain) noexcept override {
      for (const handback::Bio* bio = chain; bio != nullptr; bio = bio->next)
        device_.count(*bio);
      inner_->submit(chain);
    }
    void kick() noexcept override { inner_->kick(); }
    unsigned poll() noexcept override { return inner_->poll(); }
    void wait(std::int64_t timeout_ns) noexcept override { inner_->wait(timeout_ns); }
    [[nodiscard]] int wait_fd() noexcept override { return inner_->wait_fd(); }

   private:
    CountingDevice& device_;
    std::unique_ptr<handback::BlockQueue> inner_;
  };

  void count(const handback::Bio& bio) noexcept {
    if (bio.op == handback::BioOp::flush) ++counts_.flushes;
    if (bio.op != handback::BioOp::write) return;
    ++counts_.writes;
    if (bio.fua) ++counts_.fua_writes;
  }

  std::unique_ptr<handback::BlockDevice> inner_;
  DeviceCounts counts_;
};

}  // namespace tool
