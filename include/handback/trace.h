// One record per finished request: what it was, how it was routed, why, and when.
//
// Records are fixed-size and collected per issuer; a sink receives them in batches from the
// issuer's thread. Without a sink the cost is one predictable branch per request.
#pragma once

#include <handback/error.h>
#include <handback/kiocb_flags.h>
#include <handback/route.h>
#include <cstdint>
#include <span>
#include <string>

namespace handback {

struct TraceRecord {
  std::uint64_t submitted_ns = 0;  // CLOCK_MONOTONIC.
  std::uint64_t settled_ns = 0;
  std::uint64_t delivered_ns = 0;
  std::uint64_t file_id = 0;  // The inode number, or 0.
  std::uint64_t offset = 0;   // Bytes: where the request began.
  std::uint32_t length = 0;   // Bytes requested.
  KiocbFlags flags = KiocbFlags::none;
  IoResult result;
  Route route = Route::none;
  RouteReason reason = RouteReason::none;
};

class TraceSink {
 public:
  virtual ~TraceSink() = default;
  // Runs on: the issuer's thread, from poll(), wait() or the issuer's destructor.
  virtual void write(std::span<const TraceRecord> records) noexcept = 0;
};

// One line, without a newline:
// "ino=7 offset=4096 length=8192 flags=DIRECT|WRITE|DIO_DEFER route=issuer reason=extending …".
[[nodiscard]] std::string to_string(const TraceRecord& record);

}  // namespace handback
