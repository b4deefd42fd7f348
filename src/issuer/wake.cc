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

EventFd::~EventFd() {
  ::close(fd_);
}

std::uint64_t EventFd::read() noexcept {
  std::uint64_t count = 0;
  return ::read(fd_, &count, sizeof count) == sizeof count ? count : 0;
}

void EventFd::write() noexcept {
  const std::uint64_t one = 1;
  ssize_t written = 0;
  do {
    written = ::write(fd_, &one, sizeof one);
  } while (written < 0 && errno == EINTR);
  HB_ASSERT(written == sizeof one, "an eventfd that is read at each wake-up cannot overflow");
}

}  // namespace handback
