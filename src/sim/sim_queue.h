// The queue of a simulated device. Sleeping turns the simulated clock on; nothing else does, but
// for a little with each poll, so that a program which only polls gets on too.
#pragma once

#include <handback/sim.h>
#include <memory>

#include "block/bio_queue.h"

namespace handback::sim {

struct SimDevice::Pending {
  SimQueue* queue = nullptr;  // Null: it was closed, and nobody waits for the answer.
  Bio* bio = nullptr;
  std::uint64_t due_ns = 0;
  std::uint64_t submitted = 0;  // Moment.
  std::uint32_t write_index = 0;
  FaultKind fault = FaultKind::lost_write;
  bool faulty = false;
  bool recorded = false;
};

class SimQueue final : public BlockQueue {
 public:
  SimQueue(SimDevice& device, SimEnvironment& environment) noexcept
      : device_(device), environment_(environment) {}
  ~SimQueue() override;

  void submit(Bio* chain) noexcept override;
  void kick() noexcept override {}
  unsigned poll() noexcept override;
  void wait(std::int64_t timeout_ns) noexcept override;
  [[nodiscard]] int wait_fd() noexcept override { return -1; }

  // A bio that has its result.
  void end_in_next_poll(Bio& bio) noexcept { refused_.push(bio); }

 private:
  void end(SimDevice::Pending& pending) noexcept;

  SimDevice& device_;
  SimEnvironment& environment_;
  BioQueue refused_;
  std::uint64_t idle_since_ns_ = 0;
};

}  // namespace handback::sim
