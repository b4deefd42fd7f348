// A device that answers a bio when and where a test says, or never. For tests only.
#pragma once

#include <handback/block_device.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/context.h"
#include "block/bio_queue.h"
#include "block/readable.h"

namespace handback::testing {

// Thread class: any thread, except what it shows without a function; that is for when no other
// thread uses it.
class HeldDevice final : public BlockDevice {
 public:
  HeldDevice() {
    geometry_.size_bytes = 1U << 20;
    geometry_.memory_alignment_bytes = 1;
  }
  ~HeldDevice() override {
    if (destroyed != nullptr) *destroyed = true;
  }

  [[nodiscard]] const Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override {
    ++queues_open;
    return std::make_unique<Queue>(*this, wake_fd);
  }

  std::vector<Bio> seen;  // Copies, in order of submission.
  std::vector<std::int64_t> waits_ns;
  std::vector<std::byte*> registered;
  std::atomic<int> queues_open{0};
  unsigned answers_per_poll = ~0U;
  bool recording = true;  // Off: nothing is remembered, for steady states.
  bool* destroyed = nullptr;

  [[nodiscard]] std::size_t held_count() {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }
  [[nodiscard]] const Bio* held(std::size_t index) {
    const std::lock_guard lock(mutex_);
    return held_[index];
  }
  // Answers the `index`-th oldest held bio on the calling thread. False if there is none.
  bool answer_here(std::size_t index = 0, IoResult failure = IoResult::success(0)) {
    Bio* const bio = take(index);
    if (bio == nullptr) return false;
    set_result(*bio, failure);
    const ContextScope scope(Context::device);
    bio->end_io(*bio);
    return true;
  }
  // Answers it in a poll() of its queue, behind those already told so. The queue's thread only.
  void answer_in_poll(std::size_t index = 0, IoResult failure = IoResult::success(0)) {
    Bio* const bio = take(index);
    HB_ASSERT(bio != nullptr, "a test answers bios that are held");
    set_result(*bio, failure);
    static_cast<Queue*>(bio->queue_private)->answered.push(*bio);
  }

 private:
  struct Queue final : BlockQueue, RegistersBuffers {
    Queue(HeldDevice& of, int fd) : device(of), wake_fd(fd) {}
    ~Queue() override {
      HB_ASSERT(answered.empty(), "a queue is closed only when none of its bios is in flight");
      --device.queues_open;
    }
    void submit(Bio* chain) noexcept override {
      const std::lock_guard lock(device.mutex_);
      while (chain != nullptr) {
        Bio& bio = *chain;
        chain = bio.next;
        bio.queue_private = this;
        if (device.recording) device.seen.push_back(bio);
        device.held_.push_back(&bio);
      }
    }
    void kick() noexcept override {}
    unsigned poll() noexcept override {
      unsigned ended = 0;
      for (; ended < device.answers_per_poll && !answered.empty(); ++ended) {
        Bio& bio = *answered.pop();
        bio.end_io(bio);
      }
      return ended;
    }
    void wait(std::int64_t timeout_ns) noexcept override {
      if (device.recording) device.waits_ns.push_back(timeout_ns);
      if (timeout_ns != 0 && wake_fd >= 0) sleep_until_readable(wake_fd, -1, timeout_ns);
    }
    [[nodiscard]] int wait_fd() noexcept override { return wake_fd; }
    bool register_buffer(std::span<std::byte> memory) noexcept override {
      device.registered.push_back(memory.data());
      return true;
    }
    void unregister_buffer(std::span<std::byte> /*memory*/) noexcept override {
      device.registered.pop_back();
    }

    HeldDevice& device;
    int wake_fd;
    BioQueue answered;
  };

  Bio* take(std::size_t index) {
    const std::lock_guard lock(mutex_);
    if (index >= held_.size()) return nullptr;
    Bio* const bio = held_[index];
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    return bio;
  }
  static void set_result(Bio& bio, IoResult failure) {
    bio.result = failure.ok() ? IoResult::success(bio.length) : failure;
  }

  Geometry geometry_;
  std::string name_ = "held";
  std::mutex mutex_;  // Of held_, and `seen` while bios come and go.
  std::deque<Bio*> held_;
};

}  // namespace handback::testing
