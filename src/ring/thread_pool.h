// Threads that carry bios out, for hosts where io_uring is not to be had.
//
// Owner: the device. Bios end on the pool's threads.
#pragma once

#include <semaphore.h>

#include <handback/block_device.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/leaf_lock.h"
#include "block/bio_queue.h"
#include "ring/blocking_transfer.h"

namespace handback {

class ThreadPool {
 public:
  // `fd` and `geometry` outlive the pool. Errors: io (the host is out of threads).
  [[nodiscard]] static Result<std::unique_ptr<ThreadPool>> start(int fd, const Geometry& geometry,
                                                                 unsigned threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  // Requires: every bio has ended or is ending. Waits until their ends have returned.
  ~ThreadPool();

  // Takes all of `bios`. Each has its queue's count of bios in flight, an std::atomic<unsigned>, in
  // queue_private; it is decremented before the bio ends. Thread class: any.
  void add(BioQueue& bios) noexcept;

 private:
  ThreadPool(int fd, const Geometry& geometry) noexcept;
  void run() noexcept;
  Bio* wait_for_bio();

  BlockingTransfer transfer_;
  // A leaf lock and a semaphore: queues hand bios over from poll(), in device context, which may be
  // a signal handler's.
  LeafLock lock_;
  // At least one while pending_ is not empty and no thread is on its way to it, or stopping_.
  sem_t work_;
  BioQueue pending_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace handback
