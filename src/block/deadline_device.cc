#include "block/deadline_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/thread_serial.h"
#include "block/deadline_lane.h"

namespace handback {
class DeadlineDevice::Core {
 public:
  Core(BlockDevice& below, std::unique_ptr<BlockDevice> owned_below, const DeadlineOptions& options)
      : inner(below), rule(options), notice(options.notice), owned_(std::move(owned_below)) {}

  void lane_opened(DeadlineLane& lane) {
    const std::lock_guard guard(mutex_);
    collect_answered();
    open_.push_back(&lane);
  }

  // Keeps the lane if bios are overdue on it.
  void lane_closed(std::unique_ptr<DeadlineLane> lane) {
    const std::lock_guard guard(mutex_);
    std::erase(open_, lane.get());
    if (lane->overdue() != 0) closed_.push_back({std::move(lane), thread_serial()});
    collect_answered();
  }

  std::uint64_t overdue() {
    const std::lock_guard guard(mutex_);
    collect_answered();
    std::uint64_t count = 0;
    for (const DeadlineLane* lane : open_)
      count += lane->overdue();
    for (const Closed& closed : closed_)
      count += closed.lane->overdue();
    return count;
  }

  [[nodiscard]] bool has_open_lanes() {
    const std::lock_guard guard(mutex_);
    return !open_.empty();
  }

  BlockDevice& inner;
  DeadlineRule rule;
  const std::function<void(std::string_view)> notice;

 private:
  struct Closed {
    std::unique_ptr<DeadlineLane> lane;
    std::uint64_t opened_by;
  };

  // Answers that come on foreign threads need nobody; the others are seen by the queue's own
  // thread.
  void collect_answered() {
    std::erase_if(closed_, [](const Closed& closed) {
      if (closed.opened_by == thread_serial()) closed.lane->inner().poll();
      return closed.lane->overdue() == 0;
    });
  }

  const std::unique_ptr<BlockDevice> owned_;  // Goes after the lanes.
  std::mutex mutex_;  // Never taken by poll(): that runs in signal handlers.
  std::vector<DeadlineLane*> open_;
  std::vector<Closed> closed_;
};

namespace {

class DeadlineQueue final : public BlockQueue, public RegistersBuffers {
 public:
  DeadlineQueue(DeadlineDevice::Core& core, std::unique_ptr<BlockQueue> inner)
      : core_(core),
        registers_(dynamic_cast<RegistersBuffers*>(inner.get())),
        lane_(std::make_unique<DeadlineLane>(core.rule, std::move(inner))) {
    core_.lane_opened(*lane_);
  }
  ~DeadlineQueue() override {
    HB_ASSERT(!lane_->has_refused() && lane_->in_flight() == 0,
              "a queue is closed only when none of its bios is in flight");
    core_.lane_closed(std::move(lane_));
  }

  void submit(Bio* chain) noexcept override { lane_->submit(chain); }
  void kick() noexcept override { lane_->inner().kick(); }
  unsigned poll() noexcept override { return lane_->poll(); }
  void wait(std::int64_t timeout_ns) noexcept override {
    lane_->inner().wait(lane_->bounded(timeout_ns));
  }
  // Without a descriptor its owner polls it right before the sleep, which ends what was refused.
  [[nodiscard]] int wait_fd() noexcept override {
    return lane_->has_refused() ? -1 : lane_->inner().wait_fd();
  }

  bool register_buffer(std::span<std::byte> memory) noexcept override {
    return registers_ != nullptr && registers_->register_buffer(memory);
  }
  void unregister_buffer(std::span<std::byte> memory) noexcept override {
    if (registers_ != nullptr) registers_->unregister_buffer(memory);
  }

 private:
  DeadlineDevice::Core& core_;
  RegistersBuffers* registers_;  // Of the queue below; null if it has none.
  std::unique_ptr<DeadlineLane> lane_;
};

// Holds what late answers need until the process ends, where leak checkers see that it is meant.
void keep_for_ever(std::unique_ptr<DeadlineDevice::Core> core) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::unique_ptr<DeadlineDevice::Core>>();
  const std::lock_guard guard(mutex);
  kept->push_back(std::move(core));
}

}  // namespace

DeadlineDevice::DeadlineDevice(BlockDevice& inner, std::unique_ptr<BlockDevice> owned,
                               const DeadlineOptions& options)
    : core_(std::make_unique<Core>(inner, std::move(owned), options)),
      geometry_(inner.geometry()) {}

DeadlineDevice::~DeadlineDevice() {
  HB_ASSERT(!core_->has_open_lanes(), "a device outlives its queues");
  const std::uint64_t left = core_->overdue();
  if (left == 0) return;
  const std::string text = fmt::format(
      "{}: {} requests that missed their deadline were never answered; the memory that they name "
      "must stay as it is, and the device stays in use, until this process ends",
      core_->inner.name(), left);
  const auto notice = core_->notice;
  keep_for_ever(std::move(core_));
  if (notice) {
    notice(text);
  } else {
    fmt::print(stderr, "handback: {}\n", text);
  }
}

const std::string& DeadlineDevice::name() const noexcept {
  return core_->inner.name();
}
BlockDevice& DeadlineDevice::inner() const noexcept {
  return core_->inner;
}
std::uint64_t DeadlineDevice::overdue() {
  return core_->overdue();
}

Result<std::unique_ptr<BlockQueue>> DeadlineDevice::open_queue(int wake_fd) {
  auto queue = core_->inner.open_queue(wake_fd);
  if (!queue) return queue;
  return std::make_unique<DeadlineQueue>(*core_, std::move(*queue));
}

std::unique_ptr<BlockDevice> make_deadline_device(BlockDevice& inner,
                                                  const DeadlineOptions& options) {
  return std::make_unique<DeadlineDevice>(inner, nullptr, options);
}

std::unique_ptr<BlockDevice> make_deadline_device(std::unique_ptr<BlockDevice> inner,
                                                  const DeadlineOptions& options) {
  BlockDevice& below = *inner;
  return std::make_unique<DeadlineDevice>(below, std::move(inner), options);
}

std::uint64_t overdue(BlockDevice& device) {
  auto* const with_deadline = dynamic_cast<DeadlineDevice*>(&device);
  return with_deadline == nullptr ? 0 : with_deadline->overdue();
}

}  // namespace handback
