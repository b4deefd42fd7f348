#include "issuer/wake.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/assert.h"

namespace handback {

Result<int> Wake::open_event_fd() {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) {
    return fail(Errc::io, fmt::format("cannot create an eventfd: {}; raise the limit of open files",
                                      std::strerror(errno)));
  }
  return fd;
}

Wake::~Wake() {
  ::close(event_fd_);
}

void Wake::end_sleep() noexcept {
  // A waker that won the flag may not have written yet, while later ones have. Its write then makes
  // a later sleep short, and is read there; none may stay unread, or no sleep would ever last
  // again. Hence a count.
  if (!sleeping_.exchange(false, std::memory_order_seq_cst)) ++writes_owed_;
  if (writes_owed_ == 0) return;
  std::uint64_t count = 0;
  if (::read(event_fd_, &count, sizeof count) == sizeof count) writes_owed_ -= count;
}

void Wake::signal() noexcept {
  const std::uint64_t one = 1;
  ssize_t written = 0;
  do {
    written = ::write(event_fd_, &one, sizeof one);
  } while (written < 0 && errno == EINTR);
  HB_ASSERT(written == sizeof one, "an eventfd that is read at each wake-up cannot overflow");
}

}  // namespace handback
