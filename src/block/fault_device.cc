#include "block/fault_device.h"

#include "base/assert.h"
#include "block/bio_queue.h"

namespace handback::testing {

class FaultQueue final : public BlockQueueDecorator {
 public:
  FaultQueue(std::unique_ptr<BlockQueue> queue, FaultDevice& device)
      : BlockQueueDecorator(std::move(queue)), device_(device) {}
  ~FaultQueue() override {
    HB_ASSERT(failed_.empty(), "a queue is closed only when none of its bios is in flight");
  }

  void submit(Bio* chain) noexcept override {
    BioQueue passed;
    while (chain != nullptr) {
      Bio& bio = *chain;
      chain = bio.next;
      const IoResult verdict = device_.judge(bio);
      if (verdict.ok()) {
        passed.push(bio);
      } else {
        bio.result = verdict;
        failed_.push(bio);
      }
    }
    if (!passed.empty()) inner().submit(passed.take_all());
  }

  unsigned poll() noexcept override {
    const unsigned ended = end_bios(failed_.take_all());
    return ended + inner().poll();
  }

  void wait(std::int64_t timeout_ns) noexcept override {
    inner().wait(failed_.empty() ? timeout_ns : 0);
  }

 private:
  FaultDevice& device_;
  BioQueue failed_;  // Have their result; end in the next poll().
};

void FaultDevice::fail(BioOp op, std::uint64_t nth, IoResult result, FaultRepeat repeat) {
  HB_ASSERT(nth > 0, "bios are counted from 1");
  HB_ASSERT(!result.ok(), "a fault is a failure");
  const std::lock_guard lock(mutex_);
  faults_.push_back(Fault{op, nth - 1, result, repeat});
}

void FaultDevice::heal() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
}

FaultCounts FaultDevice::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void FaultDevice::reset_counts() {
  const std::lock_guard lock(mutex_);
  counts_ = {};
}

IoResult FaultDevice::judge(const Bio& bio) {
  const std::lock_guard lock(mutex_);
  switch (bio.op) {
    case BioOp::read:
      ++counts_.reads;
      break;
    case BioOp::flush:
      ++counts_.flushes;
      break;
    case BioOp::write:
      ++counts_.writes;
      if (bio.fua) ++counts_.fua_writes;
      break;
  }
  // Every fault of this kind counts the bio, also when an older one decides.
  IoResult verdict = IoResult::success(0);
  for (auto fault = faults_.begin(); fault != faults_.end();) {
    if (fault->op != bio.op) {
      ++fault;
    } else if (fault->bios_before > 0) {
      --fault->bios_before;
      ++fault;
    } else {
      if (verdict.ok()) verdict = fault->result;
      fault = fault->repeat == FaultRepeat::once ? faults_.erase(fault) : fault + 1;
    }
  }
  if (!verdict.ok()) ++counts_.failed;
  return verdict;
}

Result<std::unique_ptr<BlockQueue>> FaultDevice::open_queue(int wake_fd) {
  auto queue = inner().open_queue(wake_fd);
  if (!queue) return queue;
  return std::make_unique<FaultQueue>(std::move(*queue), *this);
}

}  // namespace handback::testing
