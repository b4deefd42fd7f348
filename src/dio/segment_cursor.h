// Walks a request's memory, with zero padding before and after a mapping's part of it.
#pragma once

#include <handback/kiocb.h>
#include <algorithm>
#include <cstring>

namespace handback {

// Zeros to write around partial blocks: the largest fs block. Never written to.
inline constexpr std::size_t zero_block_bytes = 65536;
alignas(4096) inline std::byte zero_block[zero_block_bytes] = {};

class SegmentCursor {
 public:
  explicit SegmentCursor(IovView iov) noexcept : iov_(iov) {}

  // The next piece of memory, at most `bytes` long. Requires: bytes left.
  iovec take(std::size_t bytes) noexcept {
    skip_empty();
    const iovec& segment = iov_.segments[index_];
    const std::size_t length = std::min(bytes, segment.iov_len - within_);
    iovec piece{static_cast<std::byte*>(segment.iov_base) + within_, length};
    within_ += length;
    return piece;
  }

  // Bytes that take() would give at once. Requires: bytes left.
  [[nodiscard]] std::size_t left_in_segment() noexcept {
    skip_empty();
    return iov_.segments[index_].iov_len - within_;
  }

  void zero(std::size_t bytes) noexcept {
    while (bytes != 0) {
      const iovec piece = take(bytes);
      std::memset(piece.iov_base, 0, piece.iov_len);
      bytes -= piece.iov_len;
    }
  }

  void skip(std::size_t bytes) noexcept {
    while (bytes != 0)
      bytes -= take(bytes).iov_len;
  }

 private:
  void skip_empty() noexcept {
    while (within_ == iov_.segments[index_].iov_len) {
      ++index_;
      within_ = 0;
    }
  }

  IovView iov_;
  std::uint32_t index_ = 0;
  std::size_t within_ = 0;
};

}  // namespace handback
