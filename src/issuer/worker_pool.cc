#include "issuer/worker_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <future>
#include <mutex>
#include <system_error>

#include "base/assert.h"

namespace handback {
namespace {
constexpr unsigned threads_max = 64;
}  // namespace

Result<void> WorkerPool::Impl::start(unsigned threads) {
  if (threads == 0 || threads > threads_max) {
    return fail(Errc::invalid,
                fmt::format("a worker pool has 1 to {} threads, not {}", threads_max, threads));
  }
  // Signals are for the program's own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  Result<void> started;
  try {
    for (unsigned i = 0; i < threads && started; ++i) {
      Worker& worker = *workers_.emplace_back(std::make_unique<Worker>());
      std::promise<Result<void>> ready;
      worker.thread = std::thread([this, &worker, &ready] {
        // A worker never leaves the library with I/O in flight, so nobody needs to nudge it.
        auto issuer = Issuer::create({.nudge_signal = 0});
        if (!issuer) {
          ready.set_value(tl::unexpected<Error>(issuer.error()));
          return;
        }
        worker.issuer = std::move(*issuer);
        ready.set_value({});
        run(worker);
        worker.issuer.reset();
      });
      started = ready.get_future().get();
    }
  } catch (const std::system_error& error) {
    if (!workers_.back()->thread.joinable()) workers_.pop_back();
    started = fail(Errc::io, fmt::format("cannot start {} worker threads: {}; raise the limit of "
                                         "processes (ulimit -u) or ask for fewer",
                                         threads, error.what()));
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  stats_.threads = static_cast<unsigned>(workers_.size());
  return started;
}

WorkerPool::Impl::~Impl() {
  lock_.lock();
  stopping_ = true;
  Worker* idle = idle_;
  idle_ = nullptr;
  lock_.unlock();
  while (idle != nullptr) {
    Worker* next = idle->next_idle;
    Issuer::Impl& issuer = idle->issuer->impl();
    idle->idle.store(false, std::memory_order_seq_cst);
    issuer.wake();
    idle = next;
  }
  for (auto& worker : workers_)
    worker->thread.join();
}

void WorkerPool::Impl::add(IssuerWork& work) noexcept {
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
  if (woken == nullptr) return;
  // The worker stays: it goes only with the pool, which outlives whoever adds.
  woken->idle.store(false, std::memory_order_seq_cst);
  woken->issuer->impl().wake();
}

IssuerWork* WorkerPool::Impl::next(Worker& worker) noexcept {
  IssuerWork* work = nullptr;
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

void WorkerPool::Impl::run(Worker& worker) noexcept {
  Issuer::Impl& issuer = worker.issuer->impl();
  for (;;) {
    IssuerWork* work = next(worker);
    if (work == nullptr) {
      if (!worker.idle.load(std::memory_order_relaxed)) break;
      // Sleeps here, and sees through what earlier work has started.
      issuer.wait_until([&] { return !worker.idle.load(std::memory_order_seq_cst); });
      continue;
    }
    {
      const Issuer::Impl::ExecutorScope executing(issuer);
      const ContextScope scope(Context::worker);
      work->run(*work);
    }
    issuer.settle_ready();
  }
}

WorkerPoolStats WorkerPool::Impl::stats() const noexcept {
  const std::lock_guard guard(lock_);
  return stats_;
}

// --- the public face ---

WorkerPool::WorkerPool() noexcept = default;
WorkerPool::~WorkerPool() = default;

Result<std::unique_ptr<WorkerPool>> WorkerPool::create(const WorkerPoolOptions& options) {
  std::unique_ptr<WorkerPool> pool(new WorkerPool());
  pool->impl_ = std::make_unique<Impl>();
  if (auto started = pool->impl_->start(options.threads); !started)
    return tl::unexpected<Error>(std::move(started.error()));
  return pool;
}

WorkerPoolStats WorkerPool::stats() const noexcept {
  return impl_->stats();
}

Result<WorkerPool*> WorkerPool::shared() {
  static std::mutex mutex;
  static WorkerPool* pool = nullptr;  // Never destroyed: issuers of any thread may still use it.
  const std::lock_guard guard(mutex);
  if (pool == nullptr) {
    auto created = create();
    if (!created) return tl::unexpected<Error>(std::move(created.error()));
    pool = created->release();
  }
  return pool;
}

}  // namespace handback
