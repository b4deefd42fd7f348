// An open file of the host, read and written whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace tool {

class HostFd {
 public:
  HostFd() = default;
  explicit HostFd(int fd) noexcept : fd_(fd) {}
  HostFd(HostFd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  HostFd& operator=(HostFd&& other) noexcept;
  ~HostFd();

  [[nodiscard]] int get() const noexcept { return fd_; }

  // Reads exactly that much from `offset` on. Returns the empty string, or what went wrong.
  [[nodiscard]] std::string read_all(std::span<std::byte> to, std::uint64_t offset) const;
  [[nodiscard]] std::string write_all(std::span<const std::byte> from, std::uint64_t offset) const;

 private:
  int fd_ = -1;
};

}  // namespace tool
