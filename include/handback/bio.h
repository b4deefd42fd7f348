// A Bio is one contiguous device I/O, unsplit: a read, a write (optionally FUA) or a flush.
//
// Owner: whoever submits it, until its end_io was entered; in between it belongs to the queue.
// Thread class: end_io runs in device context: in the reap loop of the submitting issuer or on any
// foreign thread. It must not block, allocate, submit, or run user code.
#pragma once

#include <sys/uio.h>

#include <handback/error.h>
#include <cstddef>
#include <cstdint>

namespace handback {

struct Bio;

// Called exactly once per submission, with bio.result set; never from inside submit().
// After the call the queue does not touch the bio again.
using BioEnd = void (*)(Bio& bio) noexcept;

enum class BioOp : std::uint8_t { read, write, flush };

// Segments a bio carries in place. Four hold zero-around: head, two of data, tail.
inline constexpr unsigned bio_segments_max = 4;

struct Bio {
  BioOp op = BioOp::read;
  // Write through the device's volatile cache: durable when the bio ends. Requires geometry().fua
  // or no volatile cache.
  bool fua = false;
  std::uint8_t segment_count = 0;
  std::uint16_t ioprio = 0;
  std::uint32_t length = 0;  // Bytes: the sum of the segments. A multiple of the logical block.
  std::uint64_t addr = 0;    // Byte on the device. A multiple of the logical block.
  iovec segments[bio_segments_max];  // The first segment_count of them.

  BioEnd end_io = nullptr;
  void* private_ = nullptr;  // The submitter's.
  Bio* next = nullptr;       // Chains a batch at submission; afterwards the queue's.

  IoResult result;  // Set before end_io: success(length), or the first error with bytes() so far.

  // The queue's own while it holds the bio.
  std::uint32_t queue_done = 0;
  void* queue_private = nullptr;

  // Adds `bytes` at `data` as the last segment. Requires: fewer than bio_segments_max segments.
  void add_segment(void* data, std::size_t bytes) noexcept {
    segments[segment_count++] = iovec{data, bytes};
    length += static_cast<std::uint32_t>(bytes);
  }
};

}  // namespace handback
