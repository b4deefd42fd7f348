#include "common/host_fd.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tool {

HostFd& HostFd::operator=(HostFd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = other.fd_;
    other.fd_ = -1;
  }
  return *this;
}

HostFd::~HostFd() {
  if (fd_ >= 0) close(fd_);
}

std::string HostFd::read_all(std::span<std::byte> to, std::uint64_t offset) const {
  while (!to.empty()) {
    const ssize_t bytes = pread(fd_, to.data(), to.size(), static_cast<off_t>(offset));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return std::strerror(errno);
    if (bytes == 0) return "became shorter while it was read; try again";
    to = to.subspan(static_cast<std::size_t>(bytes));
    offset += static_cast<std::uint64_t>(bytes);
  }
  return "";
}

std::string HostFd::write_all(std::span<const std::byte> from, std::uint64_t offset) const {
  while (!from.empty()) {
    const ssize_t bytes = pwrite(fd_, from.data(), from.size(), static_cast<off_t>(offset));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return std::strerror(errno);
    from = from.subspan(static_cast<std::size_t>(bytes));
    offset += static_cast<std::uint64_t>(bytes);
  }
  return "";
}

}  // namespace tool
