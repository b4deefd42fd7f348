// The worker pool's inside: one line of work for all threads.
#pragma once

#include <handback/worker_pool.h>
#include <atomic>
#include <thread>
#include <vector>

#include "issuer/issuer_impl.h"
#include "issuer/worker_line.h"

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
    std::atomic<bool> idle{false};
    Worker* next_idle = nullptr;
    std::thread thread;

    void wake() noexcept { issuer->impl().wake(); }
  };

  void run(Worker& worker) noexcept;

  WorkerLine<IssuerWork, Worker> line_;
  unsigned threads_ = 0;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace handback
