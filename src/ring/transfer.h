// How far a transfer has come: the rules that io_uring and the threads share.
#pragma once

#include <handback/bio.h>

#include "base/align.h"
#include "base/planted_bug.h"

namespace handback {

// How often a bio may come back with EINTR or EAGAIN without having moved before that is its
// result.
inline constexpr unsigned transfer_retries_max = 64;

// Bytes transferred so far, after the host said `count`. A partial block is transferred again: a
// direct transfer cannot start inside one.
[[nodiscard]] inline std::uint32_t advance(std::uint32_t done_bytes, std::uint32_t count,
                                           std::uint32_t logical_block_bytes) noexcept {
  if (planted(PlantedBug::short_transfer_keeps_partial_blocks)) return done_bytes + count;
  return static_cast<std::uint32_t>(
      round_down(std::uint64_t{done_bytes} + count, logical_block_bytes));
}

// What is left of the segment in which byte `done_bytes` of the bio lies.
// Requires: done_bytes < bio.length.
[[nodiscard]] inline iovec rest_of_segment(const Bio& bio, std::uint32_t done_bytes) noexcept {
  std::size_t skip = planted(PlantedBug::rest_of_transfer_from_the_start) ? 0 : done_bytes;
  const iovec* segment = bio.segments;
  while (skip >= segment->iov_len) {
    skip -= segment->iov_len;
    ++segment;
  }
  return iovec{static_cast<std::byte*>(segment->iov_base) + skip, segment->iov_len - skip};
}

// The host ended a transfer early and gave no error: the file below has shrunk, or the device is
// broken.
[[nodiscard]] inline IoResult short_transfer(std::uint32_t done_bytes) noexcept {
  return IoResult::failure(Errc::io, IoDetail::none, done_bytes);
}

}  // namespace handback
