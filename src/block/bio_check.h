// Whether a bio keeps to a geometry: one answer, the same from every device.
#pragma once

#include <handback/bio.h>
#include <handback/block_device.h>

#include "base/align.h"
#include "base/planted_bug.h"

namespace handback {

// success(0), or the result that `bio` must end with: that of the first rule which is broken.
//   shape:     invalid. No segment, too many, an empty one; a length that is not their sum;
//              segments or FUA on a flush; FUA on a read, or where the device cannot do it.
//   alignment: invalid, with offset_unaligned, length_unaligned (of any segment), buffer_unaligned.
//   transfer:  invalid, with length_beyond_limit.
//   direction: read_only. A write to a read-only device.
//   place:     too_large, with offset_beyond_limit. The end lies beyond the device.
[[nodiscard]] inline IoResult check_bio(const Geometry& geometry, const Bio& bio) noexcept {
  if (bio.op == BioOp::flush) {
    const bool empty = bio.segment_count == 0 && bio.length == 0 && !bio.fua;
    return empty ? IoResult::success(0) : IoResult::failure(Errc::invalid);
  }
  if (bio.segment_count == 0 || bio.segment_count > bio_segments_max) {
    return IoResult::failure(Errc::invalid);
  }
  if (bio.fua && (bio.op == BioOp::read || (geometry.volatile_cache && !geometry.fua))) {
    return IoResult::failure(Errc::invalid);
  }
  std::uint64_t sum_bytes = 0;
  std::uint64_t lengths = 0;  // The bits of all of them: aligned only if each is.
  std::uint64_t addresses = 0;
  for (unsigned i = 0; i < bio.segment_count; ++i) {
    const iovec& segment = bio.segments[i];
    if (segment.iov_len == 0 || segment.iov_len > bio.length)
      return IoResult::failure(Errc::invalid);
    sum_bytes += segment.iov_len;
    lengths |= segment.iov_len;
    addresses |= reinterpret_cast<std::uintptr_t>(segment.iov_base);
  }
  if (sum_bytes != bio.length) return IoResult::failure(Errc::invalid);
  if (!is_aligned(bio.addr, geometry.logical_block_bytes)) {
    return IoResult::failure(Errc::invalid, IoDetail::offset_unaligned);
  }
  if (!is_aligned(lengths, geometry.logical_block_bytes)) {
    return IoResult::failure(Errc::invalid, IoDetail::length_unaligned);
  }
  if (!is_aligned(addresses, geometry.memory_alignment_bytes) &&
      !planted(PlantedBug::bio_memory_alignment_unchecked)) {
    return IoResult::failure(Errc::invalid, IoDetail::buffer_unaligned);
  }
  if (bio.length > geometry.transfer_bytes_max) {
    return IoResult::failure(Errc::invalid, IoDetail::length_beyond_limit);
  }
  if (bio.op == BioOp::write && geometry.read_only) return IoResult::failure(Errc::read_only);
  if (!planted(PlantedBug::bio_end_unchecked) &&
      (bio.length > geometry.size_bytes || bio.addr > geometry.size_bytes - bio.length)) {
    return IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
  }
  return IoResult::success(0);
}

// What every device must be. Devices assert it when they are made.
[[nodiscard]] inline bool is_sound(const Geometry& geometry) noexcept {
  const std::uint32_t block = geometry.logical_block_bytes;
  const std::uint32_t alignment = geometry.memory_alignment_bytes;
  return (block == 512 || block == 4096) && alignment != 0 && (alignment & (alignment - 1)) == 0 &&
         alignment <= 4096 && geometry.size_bytes != 0 && is_aligned(geometry.size_bytes, block) &&
         geometry.transfer_bytes_max != 0 && is_aligned(geometry.transfer_bytes_max, block);
}

}  // namespace handback
