// The queue of a device that carries bios out at once: in submit(); they end in the next poll().
#pragma once

#include <handback/block_device.h>

#include "base/assert.h"
#include "base/planted_bug.h"
#include "block/bio_check.h"
#include "block/bio_queue.h"
#include "block/readable.h"

namespace handback {

// `Device` has geometry() and `IoResult carry_out(Bio&) noexcept`, called without a virtual call.
template <typename Device>
class InstantQueue final : public BlockQueue {
 public:
  InstantQueue(Device& device, int wake_fd) noexcept : device_(device), wake_fd_(wake_fd) {}
  ~InstantQueue() override {
    HB_ASSERT(done_.empty(), "a queue is closed only when none of its bios is in flight");
  }

  void submit(Bio* chain) noexcept override {
    HB_ASSERT(!ending_, "the end of a bio submits nothing");
    while (chain != nullptr) {
      Bio& bio = *chain;
      chain = bio.next;
      const IoResult verdict = check_bio(device_.geometry(), bio);
      bio.result = verdict.ok() || planted(PlantedBug::memory_device_carries_out_what_is_refused)
                       ? device_.carry_out(bio)
                       : verdict;
      done_.push(bio);
    }
  }

  void kick() noexcept override {}

  unsigned poll() noexcept override {
    ending_ = true;
    const unsigned ended = end_bios(done_.take_all());
    ending_ = false;
    return ended;
  }

  void wait(std::int64_t timeout_ns) noexcept override {
    if (timeout_ns == 0 || !done_.empty()) return;
    if (timeout_ns < 0 && wake_fd_ < 0) return;  // Nothing could end the sleep.
    sleep_until_readable(wake_fd_, -1, timeout_ns);
  }

  [[nodiscard]] int wait_fd() noexcept override { return -1; }

 private:
  Device& device_;
  int wake_fd_;
  bool ending_ = false;
  BioQueue done_;
};

}  // namespace handback
