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

ThreadPool::ThreadPool(int fd, const Geometry& geometry) noexcept : transfer_(fd, geometry) {
  ::sem_init(&work_, 0, 0);
}

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
  lock_.lock();
  const bool idle = pending_.empty();
  stopping_ = true;
  lock_.unlock();
  HB_ASSERT(idle, "a device is closed only when none of its bios is in flight");
  for (std::size_t i = 0; i < threads_.size(); ++i)
    ::sem_post(&work_);
  for (std::thread& thread : threads_)
    thread.join();
  ::sem_destroy(&work_);
}

void ThreadPool::add(BioQueue& bios) noexcept {
  lock_.lock();
  const bool was_empty = pending_.empty();
  pending_.append(bios);
  lock_.unlock();
  // A thread that takes one of several wakes the next: nobody is woken for nothing.
  if (was_empty) ::sem_post(&work_);
}

Bio* ThreadPool::wait_for_bio() {
  for (;;) {
    while (::sem_wait(&work_) != 0) {
    }
    lock_.lock();
    Bio* const bio = pending_.pop();
    const bool more = !pending_.empty();
    const bool stopping = stopping_;
    lock_.unlock();
    if (more) ::sem_post(&work_);
    if (bio != nullptr || stopping) return bio;
  }
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
