#include <handback/iomap.h>

#include "base/align.h"
#include "base/planted_bug.h"

namespace handback {
namespace {

IoResult check_flags(const Kiocb& kiocb) noexcept {
  const KiocbFlags flags = kiocb.ki_flags;
  const auto invalid = [](IoDetail detail) { return IoResult::failure(Errc::invalid, detail); };
  const auto missing = [](IoDetail detail) {
    return IoResult::failure(Errc::not_supported, detail);
  };
  if (has(flags, ~kiocb_flags_known)) return invalid(IoDetail::flag_unknown);
  if (has(flags, KiocbFlags::waitq)) {
    return has(flags, KiocbFlags::direct) ? invalid(IoDetail::flag_waitq)
                                          : missing(IoDetail::flag_waitq);
  }
  if (!has(flags, KiocbFlags::direct)) return missing(IoDetail::flag_not_direct);
  if (has(flags, KiocbFlags::dontcache)) return missing(IoDetail::flag_dontcache);
  if (has(flags, KiocbFlags::hipri)) return missing(IoDetail::flag_hipri);
  if (has(flags, KiocbFlags::noio)) return missing(IoDetail::flag_noio);
  if (has(flags, KiocbFlags::atomic)) return missing(IoDetail::flag_atomic);
  if (has(flags, KiocbFlags::append) && !kiocb.is_write())
    return invalid(IoDetail::flag_append_read);
  return {};
}

}  // namespace

IoResult dio_check(const Kiocb& kiocb, IovView iov, const Geometry& geometry) noexcept {
  if (const IoResult flags = check_flags(kiocb); !flags.ok()) return flags;
  const std::uint32_t logical_block = geometry.logical_block_bytes;
  if (!is_aligned(kiocb.ki_pos, logical_block)) {
    return IoResult::failure(Errc::invalid, IoDetail::offset_unaligned);
  }
  std::uint64_t length = 0;
  for (std::uint32_t i = 0; i < iov.count; ++i) {
    const iovec& segment = iov.segments[i];
    if (!is_aligned(segment.iov_len, logical_block) &&
        !planted(PlantedBug::check_ignores_length_alignment)) {
      return IoResult::failure(Errc::invalid, IoDetail::length_unaligned);
    }
    if (!is_aligned(reinterpret_cast<std::uintptr_t>(segment.iov_base),
                    geometry.memory_alignment_bytes)) {
      return IoResult::failure(Errc::invalid, IoDetail::buffer_unaligned);
    }
    if (segment.iov_len > io_length_bytes_max - length) {
      return IoResult::failure(Errc::too_large, IoDetail::length_beyond_limit);
    }
    length += segment.iov_len;
  }
  constexpr std::uint64_t end_max = std::uint64_t{1} << 63;
  if (kiocb.ki_pos > end_max - length) {
    return IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
  }
  return {};
}

}  // namespace handback
