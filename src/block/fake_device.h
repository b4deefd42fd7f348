// A device of the tests' own: remembers what it was given, ends it when asked. For tests only.
#pragma once

#include <handback/block_device.h>

#include <memory>
#include <string>
#include <vector>

#include "block/bio_queue.h"

namespace handback::testing {

class FakeDevice final : public BlockDevice {
 public:
  explicit FakeDevice(const Geometry& geometry) : geometry_(geometry) {}

  [[nodiscard]] const Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int) override {
    return std::make_unique<Queue>(*this);
  }

  std::vector<const Bio*> submitted;
  std::vector<std::int64_t> waits_ns;
  std::vector<std::byte*> registered;

 private:
  class Queue final : public BlockQueue, public RegistersBuffers {
   public:
    explicit Queue(FakeDevice& device) : device_(device) {}
    void submit(Bio* chain) noexcept override {
      while (chain != nullptr) {
        Bio& bio = *chain;
        chain = bio.next;
        bio.result = IoResult::success(bio.length);
        device_.submitted.push_back(&bio);
        done_.push(bio);
      }
    }
    void kick() noexcept override {}
    unsigned poll() noexcept override { return end_bios(done_.take_all()); }
    void wait(std::int64_t timeout_ns) noexcept override { device_.waits_ns.push_back(timeout_ns); }
    [[nodiscard]] int wait_fd() noexcept override { return -1; }
    bool register_buffer(std::span<std::byte> memory) noexcept override {
      device_.registered.push_back(memory.data());
      return true;
    }
    void unregister_buffer(std::span<std::byte>) noexcept override {
      device_.registered.pop_back();
    }

   private:
    FakeDevice& device_;
    BioQueue done_;
  };

  Geometry geometry_;
  std::string name_ = "fake";
};

}  // namespace handback::testing
