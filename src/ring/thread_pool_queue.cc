#include "ring/thread_pool_queue.h"

#include <sched.h>

#include "base/assert.h"
#include "block/readable.h"

namespace handback {

ThreadPoolQueue::~ThreadPoolQueue() {
  HB_ASSERT(in_flight_.load(std::memory_order_acquire) == 0,
            "a queue is closed only when none of its bios is in flight");
}

void ThreadPoolQueue::submit(Bio* chain) noexcept {
  unsigned count = 0;
  while (chain != nullptr) {
    Bio& bio = *chain;
    chain = bio.next;
    bio.queue_private = &in_flight_;
    held_back_.push(bio);
    ++count;
  }
  in_flight_.fetch_add(count, std::memory_order_relaxed);
}

void ThreadPoolQueue::kick() noexcept {
  if (!held_back_.empty()) pool_.add(held_back_);
}

unsigned ThreadPoolQueue::poll() noexcept {
  kick();
  return 0;
}

void ThreadPoolQueue::wait(std::int64_t timeout_ns) noexcept {
  kick();
  if (timeout_ns == 0) return;
  if (wake_fd_ < 0 && in_flight_.load(std::memory_order_relaxed) != 0) {
    ::sched_yield();
    return;
  }
  if (wake_fd_ < 0 && timeout_ns < 0) return;  // Nothing could end the sleep.
  sleep_until_readable(wake_fd_, -1, timeout_ns);
}

}  // namespace handback
