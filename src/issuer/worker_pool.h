// The worker pool's inside: one line of work for all threads.
#pragma once

#include <handback/worker_pool.h>
#include <atomic>
#include <thread>
#include <vector>

#include "base/leaf_lock.h"
#include "issuer/issuer_impl.h"

namespace handback {

class WorkerPool::Impl {
 public:
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  Result<void> start(unsigned threads);

  // Runs `work` once in worker context, in its turn. Any thread, device context included.
  void add(IssuerWork& work) noexcept;

  [[nodiscard]] WorkerPoolStats stats() const noexcept;

 private:
  struct Worker {
    std::unique_ptr<Issuer> issuer;  // Made and destroyed by its thread.
    std::atomic<bool> idle{false};   // Set under lock_; cleared by who wakes it.
    Worker* next_idle = nullptr;
    std::thread thread;
  };

  void run(Worker& worker) noexcept;
  // The oldest work, or null: then `worker` was put on the idle list, unless the pool is stopping.
  IssuerWork* next(Worker& worker) noexcept;

  mutable LeafLock lock_;
  LocalQueue<IssuerWork> line_;
  std::uint64_t depth_ = 0;
  Worker* idle_ = nullptr;
  bool stopping_ = false;
  WorkerPoolStats stats_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace handback
