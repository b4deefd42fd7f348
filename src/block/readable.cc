#include "block/readable.h"

#include <poll.h>

#include <cerrno>
#include <ctime>

#include "base/assert.h"

namespace handback {

void sleep_until_readable(int fd, int other_fd, std::int64_t timeout_ns) noexcept {
  pollfd entries[2] = {{fd, POLLIN, 0}, {other_fd, POLLIN, 0}};
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000);
  timeout.tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000);
  const int ready = ::ppoll(entries, 2, timeout_ns < 0 ? nullptr : &timeout, nullptr);
  HB_ASSERT(ready >= 0 || errno == EINTR || errno == ENOMEM, "ppoll on open descriptors works");
  HB_ASSERT(((entries[0].revents | entries[1].revents) & POLLNVAL) == 0,
            "the wake fd stays open as long as the queue");
}

}  // namespace handback
