// The line of work before a pool of workers, and who of them sleeps.
//
// Worker has: `Concurrency::Atomic<bool> idle`, set under the lock and cleared by who wakes it;
// `Worker* next_idle`; and wake(), which ends a sleep that lasts until `idle` is false.
// A worker goes only with the line, so who has taken it off the idle list may still touch it.
#pragma once

#include <handback/worker_pool.h>
#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/leaf_lock.h"
#include "issuer/inbox.h"

namespace handback {

template <typename Work, typename Worker, typename Concurrency = HostConcurrency>
class WorkerLine {
 public:
  // Any thread, device context included.
  void add(Work& work) noexcept {
    lock_.lock();
    line_.push(work);
    ++stats_.queued;
    stats_.depth_max = std::max(stats_.depth_max, ++depth_);
    Worker* woken = idle_;
    if (woken != nullptr) {
      idle_ = woken->next_idle;
      ++stats_.wakeups;
    }
    lock_.unlock();
    if (woken != nullptr) wake(*woken);
  }

  // The oldest work, or null: then `worker`, which calls this, is on the idle list and sleeps until
  // its flag is cleared; unless the line was stopped, then the flag is clear.
  Work* next(Worker& worker) noexcept {
    Work* work = nullptr;
    lock_.lock();
    if (!line_.empty()) {
      work = &line_.pop();
      --depth_;
      ++stats_.settled;
    } else if (!stopping_) {
      worker.idle.store(true, std::memory_order_relaxed);
      worker.next_idle = idle_;
      idle_ = &worker;
    }
    lock_.unlock();
    return work;
  }

  // Whoever finds the line empty from now on does not sleep any more.
  void stop() noexcept {
    lock_.lock();
    stopping_ = true;
    Worker* idle = idle_;
    idle_ = nullptr;
    lock_.unlock();
    while (idle != nullptr) {
      Worker* next_idle = idle->next_idle;
      wake(*idle);
      idle = next_idle;
    }
  }

  [[nodiscard]] WorkerPoolStats stats() const noexcept {
    const std::lock_guard guard(lock_);
    return stats_;
  }

 protected:
  static void wake(Worker& worker) noexcept {
    worker.idle.store(false, std::memory_order_seq_cst);
    worker.wake();
  }

  mutable BasicLeafLock<Concurrency> lock_;
  LocalQueue<Work> line_;
  std::uint64_t depth_ = 0;
  Worker* idle_ = nullptr;
  bool stopping_ = false;
  WorkerPoolStats stats_;
};

}  // namespace handback
