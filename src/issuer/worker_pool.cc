#include "issuer/worker_pool.h"

#include <fmt/format.h>

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
  threads_ = static_cast<unsigned>(workers_.size());
  return started;
}

WorkerPool::Impl::~Impl() {
  line_.stop();
  for (auto& worker : workers_)
    worker->thread.join();
}

void WorkerPool::Impl::add(IssuerWork& work) noexcept {
  line_.add(work);
}

void WorkerPool::Impl::run(Worker& worker) noexcept {
  Issuer::Impl& issuer = worker.issuer->impl();
  line_.serve(
      worker,
      [&issuer](IssuerWork& work) {
        {
          const Issuer::Impl::ExecutorScope executing(issuer);
          const ContextScope scope(Context::worker);
          work.run(work);
        }
        issuer.settle_ready();
      },
      // Sees through what earlier work has started, too.
      [&issuer](auto woken) { issuer.wait_until(woken); });
}

WorkerPoolStats WorkerPool::Impl::stats() const noexcept {
  WorkerPoolStats stats = line_.stats();
  stats.threads = threads_;
  return stats;
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
