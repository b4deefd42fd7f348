#include "ring/thread_pool.h"

#include <fmt/format.h>

#include <csignal>
#include <system_error>

#include "base/assert.h"
#include "base/context.h"

namespace handback {
namespace {

// Signals are for the program's own threads: threads started within the scope block all of them.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

Result<std::unique_ptr<ThreadPool>> ThreadPool::start(int fd, const Geometry& geometry,
                                                      unsigned threads) {
  std::unique_ptr<ThreadPool> pool(new ThreadPool(fd, geometry));
  const SignalsBlocked blocked;
  try {
    for (unsigned i = 0; i < threads; ++i) {
      pool->threads_.emplace_back([&pool_ref = *pool] { pool_ref.run(); });
    }
  } catch (const std::system_error& error) {
    return fail(Errc::io,
                fmt::format("cannot start {} threads for I/O: {}; raise the limit of processes "
                            "(ulimit -u) or ask for fewer",
                            threads, error.what()));
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    HB_ASSERT(pending_.empty(), "a device is closed only when none of its bios is in flight");
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_)
    thread.join();
}

void ThreadPool::add(BioQueue& bios) {
  {
    const std::lock_guard lock(mutex_);
    pending_.append(bios);
  }
  // A thread that takes one of several wakes the next: no thread is woken for nothing.
  work_.notify_one();
}

Bio* ThreadPool::wait_for_bio() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [this] { return stopping_ || !pending_.empty(); });
  Bio* const bio = pending_.pop();
  const bool more = !pending_.empty();
  lock.unlock();
  if (more) work_.notify_one();
  return bio;
}

void ThreadPool::run() noexcept {
  while (Bio* const bio = wait_for_bio()) {
    bio->result = transfer_.carry_out(*bio);
    // The count goes down before the end is entered, and neither bio nor queue is touched
    // afterwards: the submitter may reuse the one and close the other as soon as it knows of the
    // end. It cannot know earlier, so the queue is still there for the count. The pool outlives
    // both: its destructor joins this thread, so an end that has told its submitter but not
    // returned yet is waited for.
    auto& in_flight = *static_cast<std::atomic<unsigned>*>(bio->queue_private);
    in_flight.fetch_sub(1, std::memory_order_release);
    {
      const ContextScope scope(Context::device);
      bio->end_io(*bio);
    }
  }
}

}  // namespace handback
