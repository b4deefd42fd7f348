// One issuer's way to a pool of threads.
//
// Its bios end on the pool's threads: the submitter's end_io must wake the issuer through the wake
// fd.
#pragma once

#include <handback/block_device.h>

#include <atomic>

#include "block/bio_queue.h"
#include "ring/thread_pool.h"

namespace handback {

class ThreadPoolQueue final : public BlockQueue {
 public:
  // `pool` outlives the queue.
  ThreadPoolQueue(ThreadPool& pool, int wake_fd) noexcept : pool_(pool), wake_fd_(wake_fd) {}
  ~ThreadPoolQueue() override;

  void submit(Bio* chain) noexcept override;
  void kick() noexcept override;
  unsigned poll() noexcept override;
  // Without a wake fd nothing tells that a bio has ended: then this only yields while bios are in
  // flight.
  void wait(std::int64_t timeout_ns) noexcept override;
  [[nodiscard]] int wait_fd() noexcept override { return -1; }

 private:
  ThreadPool& pool_;
  const int wake_fd_;
  BioQueue held_back_;
  std::atomic<unsigned> in_flight_{0};  // Held back, pending or at the host.
};

}  // namespace handback
