// A device that carries out what is submitted to it between two polls in the opposite order, and
// remembers all of it: order between bios in flight is nothing that the rooms above may rely on.
// Thread class: one thread.
#pragma once

#include <string>
#include <vector>

#include "block/decorators.h"

namespace handback::testing {

class ReorderDevice final : public BlockDeviceDecorator {
 public:
  explicit ReorderDevice(BlockDevice& inner) : BlockDeviceDecorator(inner) {}
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override {
    auto queue = inner().open_queue(wake_fd);
    if (!queue) return queue;
    return std::make_unique<Queue>(*this, std::move(*queue));
  }

  // "write", "write_fua", "flush", "read" in the order of submission, and what note() added.
  [[nodiscard]] const std::vector<std::string>& history() const noexcept { return history_; }
  void note(std::string what) { history_.push_back(std::move(what)); }
  void forget() { history_.clear(); }

 private:
  class Queue final : public BlockQueueDecorator {
   public:
    Queue(ReorderDevice& device, std::unique_ptr<BlockQueue> inner_queue)
        : BlockQueueDecorator(std::move(inner_queue)), device_(device) {}
    void submit(Bio* chain) noexcept override {
      while (chain != nullptr) {
        Bio* bio = chain;
        chain = bio->next;
        bio->next = nullptr;
        device_.note(bio->op == BioOp::flush  ? "flush"
                     : bio->op == BioOp::read ? "read"
                     : bio->fua               ? "write_fua"
                                              : "write");
        held_.push_back(bio);
      }
    }
    void kick() noexcept override { go(); }
    unsigned poll() noexcept override {
      go();
      return inner().poll();
    }
    void wait(std::int64_t timeout_ns) noexcept override {
      go();
      inner().wait(timeout_ns);
    }

   private:
    void go() {
      while (!held_.empty()) {
        inner().submit(held_.back());
        held_.pop_back();
      }
    }
    ReorderDevice& device_;
    std::vector<Bio*> held_;
  };

  std::vector<std::string> history_;
};

}  // namespace handback::testing
