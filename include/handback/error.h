// Outcomes that data, devices or users decide, as values.
//
// `Error` carries a sentence and is used where a call may allocate: opening, naming, formatting,
// checking. `IoResult` is eight bytes, never allocates, and is used for every request on the data
// path. Programmer errors are neither: they abort with who, where and which rule (see
// docs/ARCHITECTURE.md). Thread class: any thread. Nothing here survives a crash.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace handback {

// A code exists where some caller would act on it; everything finer is in the message or the
// detail.
enum class Errc : std::uint16_t {
  ok = 0,
  invalid,        // An argument or a combination of flags can never work.
  not_supported,  // Known, but not implemented for this object.
  would_block,    // NOWAIT was set and the request would have had to wait. Retry without it, or
                  // later.
  no_space,       // Nothing was changed.
  too_large,      // Beyond a limit of the format or of one request.
  not_found,
  exists,
  not_a_directory,
  is_a_directory,
  not_empty,
  busy,  // Held by somebody; the message says by whom.
  read_only,
  permission,
  io,         // The device failed the request; the detail is the host's errno where there is one.
  damaged,    // On-disk bytes do not say what they must; the message names block and reason.
  version,    // The format is newer than, or unknown to, this program.
  poisoned,   // An earlier flush or log write failed (every durable call fails until reopened), or
              // the device let a bio miss its deadline (everything fails until reopened).
  canceled,   // The object was closed, or the issuer's thread ended, before the request started.
  timed_out,  // The device did not answer within the deadline: whether the request happened, or
              // still will, is unknown. See deadline_device.h on the request's memory.
};

// The code's name as written above, for messages and JSON.
[[nodiscard]] std::string_view errc_name(Errc code) noexcept;

// The host's errno expressed as a code. Never returns `ok`.
[[nodiscard]] Errc errc_from_errno(int host_errno) noexcept;

// What went wrong, to which thing, and what to do next, in one or two plain sentences.
class [[nodiscard]] Error {
 public:
  Error(Errc code, std::string message) : code_(code), message_(std::move(message)) {}

  [[nodiscard]] Errc code() const noexcept { return code_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }

 private:
  Errc code_;
  std::string message_;
};

template <typename T>
using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> fail(Errc code, std::string message) {
  return tl::unexpected<Error>(Error(code, std::move(message)));
}

// Finer reason of an `IoResult`, so that a request can name its mistake without allocating.
// For Errc::io the detail is the host's errno instead.
enum class IoDetail : std::uint16_t {
  none = 0,
  offset_unaligned,      // ki_pos is not a multiple of the logical block.
  length_unaligned,      // A segment's length is not a multiple of the logical block.
  buffer_unaligned,      // A segment's address is not a multiple of the device's memory alignment.
  length_beyond_limit,   // More than io_length_bytes_max in one request.
  offset_beyond_limit,   // The end lies beyond the largest file size.
  flag_not_direct,       // DIRECT is missing, and the file has no page cache.
  flag_waitq,            // WAITQ is for buffered reads that are not polled, with a wait entry.
  flag_hipri,            // The device cannot be polled.
  flag_noio,             // NOIO is for buffered reads.
  flag_atomic,           // Untorn writes.
  flag_dontcache,        // DONTCACHE belongs to buffered I/O.
  flag_append_read,      // APPEND on a read.
  flag_direction,        // WRITE set on a read, or missing on a write.
  flag_unknown,          // A bit that no kernel and no Handback defines.
  short_transfer,        // The device ended a transfer early and a retry made no progress.
  metadata_area_full,    // no_space: the checkpoint area cannot describe more extents or names.
  missed_deadline,       // timed_out: this request; poisoned: one before it on the same device.
  flag_nowait,           // The file cannot promise that this request does not wait.
  flag_append,           // The file has no end of its own to append at.
  offset_not_next,       // The file is written in order only, and the write is not the next one.
  behind_failed_append,  // canceled: an append before this one failed, and the file ends there.
  gap_unprepared,  // would_block: what lies between the file's end and the write is not zeroed.
  data_checksum,   // damaged: a block of data is not as it was written.
  file_is_cached,  // would_block: the file has got a page cache, in which to make way first.
};

// The result of one request: bytes transferred from its start, and the first error if there was
// one. After an error, `bytes()` is the prefix that is known to have been transferred (usually 0).
class [[nodiscard]] IoResult {
 public:
  constexpr IoResult() noexcept = default;

  [[nodiscard]] static constexpr IoResult success(std::uint32_t bytes) noexcept {
    return IoResult(bytes, Errc::ok, 0);
  }
  [[nodiscard]] static constexpr IoResult failure(Errc code, IoDetail detail = IoDetail::none,
                                                  std::uint32_t bytes = 0) noexcept {
    return IoResult(bytes, code, static_cast<std::uint16_t>(detail));
  }
  // `host_errno` must not be 0.
  [[nodiscard]] static IoResult host_failure(int host_errno, std::uint32_t bytes = 0) noexcept;

  [[nodiscard]] constexpr bool ok() const noexcept { return code_ == Errc::ok; }
  [[nodiscard]] constexpr Errc code() const noexcept { return code_; }
  [[nodiscard]] constexpr std::uint32_t bytes() const noexcept { return bytes_; }
  // Meaningful unless code() is Errc::io.
  [[nodiscard]] constexpr IoDetail detail() const noexcept {
    return code_ == Errc::io ? IoDetail::none : static_cast<IoDetail>(detail_);
  }
  // The host's errno where the code is Errc::io and the host gave one, else 0.
  [[nodiscard]] constexpr int host_errno() const noexcept {
    return code_ == Errc::io ? detail_ : 0;
  }

  [[nodiscard]] constexpr IoResult with_bytes(std::uint32_t bytes) const noexcept {
    return IoResult(bytes, code_, detail_);
  }

  friend constexpr bool operator==(const IoResult&, const IoResult&) noexcept = default;

 private:
  constexpr IoResult(std::uint32_t bytes, Errc code, std::uint16_t detail) noexcept
      : bytes_(bytes), code_(code), detail_(detail) {}

  std::uint32_t bytes_ = 0;
  Errc code_ = Errc::ok;
  std::uint16_t detail_ = 0;
};
static_assert(sizeof(IoResult) == 8);

// One request transfers at most this many bytes (the kernel's MAX_RW_COUNT for 4 KiB pages).
inline constexpr std::uint32_t io_length_bytes_max = 0x7ffff000U;

// A sentence for `result`: what failed, why, and what to do next. Not for the data path.
[[nodiscard]] std::string describe(IoResult result);

// The request's "not final yet", deliberately not a number: nothing can mistake it for a byte
// count.
struct NotFinal {};

// What a step of a request says of it: its final result, or that the result comes later.
class [[nodiscard]] Outcome {
 public:
  constexpr Outcome(IoResult result) noexcept : result_(result), final_(true) {}  // NOLINT
  constexpr Outcome(NotFinal) noexcept {}                                         // NOLINT

  [[nodiscard]] constexpr bool is_final() const noexcept { return final_; }
  // Requires: is_final(). Aborts otherwise.
  [[nodiscard]] IoResult result() const noexcept;

 private:
  IoResult result_;
  bool final_ = false;
};

}  // namespace handback
