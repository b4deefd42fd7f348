#include <fmt/format.h>

#include <handback/error.h>
#include <cerrno>
#include <cstring>

#include "base/assert.h"

namespace handback {

std::string_view errc_name(Errc code) noexcept {
  switch (code) {
    case Errc::ok:
      return "ok";
    case Errc::invalid:
      return "invalid";
    case Errc::not_supported:
      return "not_supported";
    case Errc::would_block:
      return "would_block";
    case Errc::no_space:
      return "no_space";
    case Errc::too_large:
      return "too_large";
    case Errc::not_found:
      return "not_found";
    case Errc::exists:
      return "exists";
    case Errc::not_a_directory:
      return "not_a_directory";
    case Errc::is_a_directory:
      return "is_a_directory";
    case Errc::not_empty:
      return "not_empty";
    case Errc::busy:
      return "busy";
    case Errc::read_only:
      return "read_only";
    case Errc::permission:
      return "permission";
    case Errc::io:
      return "io";
    case Errc::damaged:
      return "damaged";
    case Errc::version:
      return "version";
    case Errc::poisoned:
      return "poisoned";
    case Errc::canceled:
      return "canceled";
    case Errc::timed_out:
      return "timed_out";
  }
  return "unknown";
}

Errc errc_from_errno(int host_errno) noexcept {
  switch (host_errno) {
    case EINVAL:
      return Errc::invalid;
    case EOPNOTSUPP:
    case ENOSYS:
      return Errc::not_supported;
    case EAGAIN:
      return Errc::would_block;
    case ENOSPC:
    case EDQUOT:
      return Errc::no_space;
    case EFBIG:
    case EOVERFLOW:
      return Errc::too_large;
    case ENOENT:
      return Errc::not_found;
    case EEXIST:
      return Errc::exists;
    case ENOTDIR:
      return Errc::not_a_directory;
    case EISDIR:
      return Errc::is_a_directory;
    case ENOTEMPTY:
      return Errc::not_empty;
    case EBUSY:
    case ETXTBSY:
      return Errc::busy;
    case EROFS:
      return Errc::read_only;
    case EACCES:
    case EPERM:
      return Errc::permission;
    default:
      return Errc::io;
  }
}

IoResult IoResult::host_failure(int host_errno, std::uint32_t bytes) noexcept {
  HB_ASSERT(host_errno > 0, "a host failure carries the errno");
  // ENOSPC and EROFS mean something to callers of a request; everything else a device says is `io`,
  // and keeps its number.
  if (host_errno == ENOSPC || host_errno == EDQUOT)
    return failure(Errc::no_space, IoDetail::none, bytes);
  if (host_errno == EROFS) return failure(Errc::read_only, IoDetail::none, bytes);
  return IoResult(bytes, Errc::io, static_cast<std::uint16_t>(host_errno));
}

IoResult Outcome::result() const noexcept {
  HB_ASSERT(final_, "a result is read only from a final outcome");
  return result_;
}

namespace {

std::string_view detail_sentence(IoDetail detail) {
  switch (detail) {
    case IoDetail::none:
      return "";
    case IoDetail::offset_unaligned:
      return "the offset is not a multiple of the device's logical block; align it";
    case IoDetail::length_unaligned:
      return "the length of a segment is not a multiple of the device's logical block; pad it";
    case IoDetail::buffer_unaligned:
      return "the address of a segment is not aligned as the device needs; use an AlignedBuffer";
    case IoDetail::length_beyond_limit:
      return "the request is longer than io_length_bytes_max; split it";
    case IoDetail::offset_beyond_limit:
      return "the request ends beyond the largest offset possible";
    case IoDetail::flag_not_direct:
      return "this file has no page cache for buffered I/O; set DIRECT";
    case IoDetail::flag_waitq:
      return "WAITQ is for buffered reads that bring a wait entry and are not polled; clear it";
    case IoDetail::flag_hipri:
      return "HIPRI: this device cannot be polled; clear the flag";
    case IoDetail::flag_noio:
      return "NOIO is for buffered reads, which may find the bytes in the page cache; clear it";
    case IoDetail::flag_atomic:
      return "ATOMIC: untorn writes are not implemented; clear the flag";
    case IoDetail::flag_dontcache:
      return "DONTCACHE is for buffered I/O; clear it, or DIRECT";
    case IoDetail::flag_append_read:
      return "APPEND on a read; clear the flag";
    case IoDetail::flag_direction:
      return "the WRITE flag does not match the call";
    case IoDetail::flag_unknown:
      return "a flag bit without a meaning is set; clear it";
    case IoDetail::short_transfer:
      return "the device ended a transfer early; check the device";
    case IoDetail::metadata_area_full:
      return "the volume cannot describe more extents or names; remove files or format a larger "
             "volume";
    case IoDetail::missed_deadline:
      return "the device let a request miss its deadline, and what became of that is unknown; "
             "close "
             "the device and open it again";
    case IoDetail::flag_nowait:
      return "this file does not take NOWAIT writes; clear the flag";
    case IoDetail::flag_append:
      return "this file does not take APPEND; give the offset";
    case IoDetail::behind_failed_append:
      return "an append before this one failed, and the file ends there; append again";
    case IoDetail::gap_unprepared:
      return "what lies between the file's end and the write is not zeroed yet; try again without "
             "NOWAIT";
    case IoDetail::file_is_cached:
      return "the file has got a page cache, in which to make way first; try again without NOWAIT";
    case IoDetail::data_checksum:
      return "a block of data is not as it was written; 'handback check --data' names the blocks; "
             "write "
             "them anew from a copy and check the device";
    case IoDetail::offset_not_next:
      return "this file is written in order; write where the last write ended, or use APPEND";
  }
  return "";
}

}  // namespace

std::string describe(IoResult result) {
  if (result.ok()) return fmt::format("{} bytes", result.bytes());
  std::string text(errc_name(result.code()));
  if (result.host_errno() != 0) {
    text += fmt::format(": {} (errno {})", std::strerror(result.host_errno()), result.host_errno());
  } else if (result.detail() != IoDetail::none) {
    text += ": ";
    text += detail_sentence(result.detail());
  }
  if (result.bytes() != 0)
    text += fmt::format("; the first {} bytes were transferred", result.bytes());
  return text;
}

}  // namespace handback
