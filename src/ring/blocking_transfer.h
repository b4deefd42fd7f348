// A bio carried out by the calling thread, with the host's ordinary system calls.
#pragma once

#include <handback/bio.h>
#include <handback/block_device.h>

#include <atomic>

namespace handback {

class BlockingTransfer {
 public:
  // `fd` and `geometry` outlive it.
  BlockingTransfer(int fd, const Geometry& geometry) noexcept : fd_(fd), geometry_(geometry) {}

  // The result of `bio`, checked against the geometry first. Blocks. Thread class: any, also at
  // once.
  IoResult carry_out(const Bio& bio) noexcept;

 private:
  IoResult transfer(const Bio& bio) noexcept;
  ssize_t transfer_once(const Bio& bio, std::uint32_t done_bytes) noexcept;
  IoResult flush(std::uint32_t done_bytes) noexcept;

  const int fd_;
  const Geometry& geometry_;
  // Cleared when the host first refuses RWF_DSYNC; from then on a FUA write is a write and a flush.
  std::atomic<bool> has_dsync_{true};
};

}  // namespace handback
