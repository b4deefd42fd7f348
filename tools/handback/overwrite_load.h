// 4 KiB random overwrites of a fully written file, kept at a depth for a time: through a volume,
// and by hand-written io_uring on a plain host file with the best settings known.
#pragma once

#include <handback/issuer.h>
#include <cstdint>
#include <memory>
#include <string>

#include "handback/latency_histogram.h"

namespace tool {

inline constexpr std::uint32_t overwrite_bytes = 4096;

struct OverwriteResult {
  std::uint64_t requests = 0;
  std::uint64_t elapsed_ns = 0;
  std::uint64_t p50_ns = 0;
  std::uint64_t p99_ns = 0;

  [[nodiscard]] double iops() const {
    return static_cast<double>(requests) / (static_cast<double>(elapsed_ns) * 1e-9);
  }
};

struct OverwriteLoad {
  unsigned depth = 1;
  std::uint64_t file_bytes = 0;
  std::uint64_t seed = 1;
  std::uint64_t warm_up_ns = 0;  // Before anything is counted.
  std::uint64_t measured_ns = 0;
};

// xorshift64*: the same offsets for both targets.
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

// Throws Failure.
[[nodiscard]] OverwriteResult overwrite_through(handback::Issuer& issuer, handback::File& file,
                                                const OverwriteLoad& load);

// A host file opened with O_DIRECT and a ring of its own: single issuer with deferred task work
// where the kernel has it, the file and the buffers registered.
class PlainRing {
 public:
  // Opens an existing file. Throws Failure.
  PlainRing(const std::string& path, unsigned depth_max);
  PlainRing(const PlainRing&) = delete;
  PlainRing& operator=(const PlainRing&) = delete;
  ~PlainRing();

  [[nodiscard]] OverwriteResult overwrite(const OverwriteLoad& load);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tool
