// 4 KiB random overwrites of a fully written file, kept at a depth for a time.
#pragma once

#include <handback/issuer.h>
#include <cstdint>

#include "handback/bench/measured_window.h"

namespace tool {

inline constexpr std::uint32_t overwrite_bytes = 4096;

struct OverwriteLoad {
  unsigned depth = 1;
  std::uint64_t file_bytes = 0;
  std::uint64_t seed = 1;
  std::uint64_t warm_up_ns = 0;  // Before anything is counted.
  std::uint64_t measured_ns = 0;
  bool dio_defer = true;  // Not for the plain ring, which knows no DIO_DEFER.
};

// xorshift64*: the same offsets for all that are compared.
class OffsetSource {
 public:
  OffsetSource(std::uint64_t seed, std::uint64_t file_bytes)
      : state_(seed * 0x9e3779b97f4a7c15U | 1), blocks_(file_bytes / overwrite_bytes) {}

  std::uint64_t next() noexcept {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return (state_ * 0x2545f4914f6cdd1dU >> 11) % blocks_ * overwrite_bytes;
  }

 private:
  std::uint64_t state_;
  std::uint64_t blocks_;
};

// Through the library. Throws Failure, also when a signal stopped it.
[[nodiscard]] RunResult overwrite_through(handback::Issuer& issuer, handback::File& file,
                                          const OverwriteLoad& load);

}  // namespace tool
