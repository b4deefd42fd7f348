// The record that ties a kiocb to its bios, for as long as the request lives.
//
// Reference count: one for the submission, one per bio. Whoever drops the last one decides how the
// request goes on (engine.cc, drop_last_reference); after its own decrement nobody touches the Dio.
#pragma once

#include <handback/iomap.h>
#include <cstdint>

#include "dio/first_error.h"
#include "dio/handoff.h"
#include "dio/inflight.h"
#include "dio/reference_count.h"
#include "issuer/issuer_impl.h"

namespace handback {

// A bio and where in its request it lies.
struct DioBio : Bio {
  std::uint32_t at = 0;  // Bytes from the request's start; of a bio with a padded head: 0.
};
static_assert(sizeof(DioBio) <= bio_record_bytes);

struct Dio {
  Kiocb* kiocb = nullptr;
  Issuer::Impl* issuer = nullptr;   // The request's own.
  Issuer::Impl* home = nullptr;     // Whose pool this record is of.
  Issuer::Impl* started = nullptr;  // Through whose queue its bios go, and whose pool they are of.
  DioRequest request;
  IovView iov;

  std::uint64_t offset = 0;
  std::uint32_t length = 0;        // Bytes requested.
  std::uint32_t length_valid = 0;  // Of a read: bytes before the end of the file.

  bool write = false;
  bool unwritten = false;
  bool new_extent = false;
  bool shared = false;
  bool needs_sync = false;
  bool first_bio_used = false;
  bool ended = false;  // Synchronous caller: its own thread sets and reads it.
  bool data_ended_told = false;
  bool data_begun = false;
  std::uint8_t tries = 0;           // Times that iomap_begin refused and way was made.
  std::uint64_t size_at_entry = 0;  // Of the file, when the write took its place.
  std::uint64_t token = 0;          // What write_start returned.
  IoResult no_place;                // Why the write cannot have a place.

  ReferenceCount<> references;
  FirstError<> first_error;

  RangeEntry range;
  struct Standing : InLine {
    Dio* dio = nullptr;
  } in_line;
  struct Resume : IssuerWork {
    Dio* dio = nullptr;
  } resume;

  // Settling: the stage that runs or waits for its continuation, and who goes on when that ended.
  enum class Stage : std::uint8_t { end_io, sync } stage = Stage::end_io;
  enum class ResumeAs : std::uint8_t { start, settle, advance } resume_as = ResumeAs::start;
  Handoff<> handoff;
  IoResult pending_result;

  // Made when the request has something to transfer.
  alignas(DioBio) std::byte first_bio_room[sizeof(DioBio)];
  [[nodiscard]] void* first_bio() noexcept { return first_bio_room; }
};
static_assert(sizeof(Dio) <= dio_record_bytes);

}  // namespace handback
