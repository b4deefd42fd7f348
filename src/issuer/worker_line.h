// The line of work before a pool of workers, and who of them sleeps.
//
// Worker has: `Concurrency::Atomic<bool> idle`, set under the lock and cleared by who wakes it;
// `Worker* next_idle`; and wake(), which ends a sleep that lasts until `idle` is false.
// Who has taken a worker off the idle list may touch it: it ends only when nobody is inside add()
// or stop() any more.
#pragma once

#include <handback/worker_pool.h>
#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/leaf_lock.h"
#include "base/planted_bug.h"
#include "issuer/inbox.h"

namespace handback {

template <typename Work, typename Worker, typename Concurrency = HostConcurrency>
class WorkerLine {
 public:
  // Any thread, device context included.
  void add(Work& work) noexcept {
    // Before the work can be run: from then on the pool's owner may be told, and end the pool.
    wakers_.fetch_add(1, std::memory_order_relaxed);
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
    if (woken != nullptr && !planted(PlantedBug::worker_not_woken)) wake(*woken);
    wakers_.fetch_sub(1, std::memory_order_release);
  }

  // The life of a worker: runs work in its turn, and calls `sleep` with a predicate, to return once
  // that is true, while there is none. Returns when the line was stopped and is empty.
  template <typename Run, typename Sleep>
  void serve(Worker& worker, Run run, Sleep sleep) noexcept {
    for (;;) {
      Work* work = nullptr;
      switch (next(worker, &work)) {
        case Turn::work:
          run(*work);
          break;
        case Turn::idle:
          // It may have been woken already.
          sleep([&worker] { return !worker.idle.load(std::memory_order_seq_cst); });
          break;
        case Turn::end:
          wait_for_wakers();
          return;
      }
    }
  }

  // Whoever finds the line empty from now on ends. Requires: all work that was added has been run,
  // and none will be added; calls of add() may still be on their way out.
  void stop() noexcept {
    wakers_.fetch_add(1, std::memory_order_relaxed);
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
    wakers_.fetch_sub(1, std::memory_order_release);
  }

  [[nodiscard]] WorkerPoolStats stats() const noexcept {
    const std::lock_guard guard(lock_);
    return stats_;
  }

 protected:
  enum class Turn : std::uint8_t { work, idle, end };

  // The oldest work, or a place for `worker` on the idle list, or the end. That a worker was put on
  // the list is no longer to be seen from its flag: whoever adds next may have cleared it.
  Turn next(Worker& worker, Work** work) noexcept {
    const std::lock_guard guard(lock_);
    if (!line_.empty()) {
      *work = &line_.pop();
      --depth_;
      ++stats_.settled;
      return Turn::work;
    }
    if (stopping_) return Turn::end;
    worker.idle.store(true, std::memory_order_relaxed);
    worker.next_idle = idle_;
    idle_ = &worker;
    return Turn::idle;
  }

  void wait_for_wakers() noexcept {
    Concurrency::yield_until([this] { return wakers_.load(std::memory_order_acquire) == 0; });
  }

  static void wake(Worker& worker) noexcept {
    worker.idle.store(false, std::memory_order_seq_cst);
    worker.wake();
  }

  mutable BasicLeafLock<Concurrency> lock_;
  LocalQueue<Work> line_;
  std::uint64_t depth_ = 0;
  Worker* idle_ = nullptr;
  bool stopping_ = false;
  // Threads inside add() and stop(); they still touch the line and the workers that they wake.
  typename Concurrency::template Atomic<unsigned> wakers_{0};
  WorkerPoolStats stats_;
};

}  // namespace handback
