// A ring for appends by hand-written io_uring, with the best settings known.
#pragma once

#include <liburing.h>

#include <vector>

namespace tool {

class AppendRing {
 public:
  // Single issuer with deferred task work where the kernel has it; the files are registered.
  // Throws Failure.
  AppendRing(unsigned entries, const std::vector<int>& fds);
  AppendRing(const AppendRing&) = delete;
  AppendRing& operator=(const AppendRing&) = delete;
  ~AppendRing() { io_uring_queue_exit(&ring_); }

  [[nodiscard]] io_uring& ring() noexcept { return ring_; }

  // Submits, and returns once something has ended. With `busy` it first looks for a completion for
  // as long as a device of ours would before it sleeps. Throws Failure.
  void submit_and_wait(bool busy);

 private:
  void look_before_sleep();

  io_uring ring_{};
};

}  // namespace tool
