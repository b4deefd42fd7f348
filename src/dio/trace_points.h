// The engine's trace points. Each is one load and a branch while nobody listens; what it then does
// is elsewhere, so that the engine's code stays small.
#pragma once

#include <optional>

#include "dio/dio.h"
#include "trace/points.h"

namespace handback {

void emit_rw_begin(const Kiocb& kiocb, const DioRequest& request, std::uint32_t length) noexcept;
inline void trace_rw_begin(const Kiocb& kiocb, const DioRequest& request,
                           std::uint32_t length) noexcept {
  if (trace_enabled()) [[unlikely]]
    emit_rw_begin(kiocb, request, length);
}

// iomap_dio_rw_queued is known only after the submission's reference was dropped, when the request
// may be gone: the record is made before, and dropped if the request ended at once. Its time is
// from before, too, so that no completion elsewhere seems to come first.
class RwQueuedPoint {
 public:
  explicit RwQueuedPoint(const Dio& dio) noexcept {
    if (trace_enabled()) [[unlikely]]
      prepare(dio);
  }
  void emit() const noexcept {
    if (record_) [[unlikely]]
      trace_emit(*record_);
  }

 private:
  void prepare(const Dio& dio) noexcept;
  std::optional<TraceRecord> record_;
};

// `result`: of the request, which is settled. Its Kiocb is still there.
void emit_complete(const Kiocb& kiocb, std::uint64_t offset, std::uint32_t length,
                   IoResult result) noexcept;
inline void trace_complete(const Kiocb& kiocb, std::uint64_t offset, std::uint32_t length,
                           IoResult result) noexcept {
  if (trace_enabled()) [[unlikely]]
    emit_complete(kiocb, offset, length, result);
}

// One drain, from its beginning to the grant of its range.
class DrainPoint {
 public:
  explicit DrainPoint(const RangeEntry& range) noexcept {
    if (trace_enabled()) [[unlikely]]
      begin(range);
  }
  void granted(const RangeEntry& range) const noexcept {
    if (begun_ns_ != 0) [[unlikely]]
      end(range);
  }

 private:
  void begin(const RangeEntry& range) noexcept;
  void end(const RangeEntry& range) const noexcept;
  std::uint64_t begun_ns_ = 0;  // 0: nobody listened.
};

}  // namespace handback
