#include "handback/bench/append_ring.h"

#include <handback/host_device.h>

#include <cerrno>
#include <cstdint>

#include "common/failure.h"
#include "common/progress.h"

namespace tool {

AppendRing::AppendRing(unsigned entries, const std::vector<int>& fds) {
  // From the best to what every io_uring has.
  constexpr unsigned tries[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                IORING_SETUP_COOP_TASKRUN, 0};
  int error = 0;
  for (const unsigned flags : tries) {
    error = io_uring_queue_init(entries, &ring_, flags);
    if (error == 0) break;
  }
  if (error != 0) throw failure_of_errno(-error, "io_uring");
  const int failed = io_uring_register_files(&ring_, fds.data(), static_cast<unsigned>(fds.size()));
  if (failed < 0) {
    io_uring_queue_exit(&ring_);
    throw failure_of_errno(-failed, "io_uring");
  }
}

void AppendRing::look_before_sleep() {
  const std::uint64_t until_ns =
      monotonic_ns() + std::uint64_t{handback::HostDeviceOptions{}.busy_wait_us_max} * 1000;
  io_uring_submit(&ring_);
  do {
    io_uring_get_events(&ring_);
  } while (io_uring_cq_ready(&ring_) == 0 && monotonic_ns() < until_ns);
}

void AppendRing::submit_and_wait(bool busy) {
  if (busy) look_before_sleep();
  const int submitted = io_uring_submit_and_wait(&ring_, 1);
  if (submitted < 0 && submitted != -EINTR) throw failure_of_errno(-submitted, "io_uring");
}

}  // namespace tool
