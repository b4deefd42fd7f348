// The record of an event of one request: what every such event has.
#pragma once

#include <handback/kiocb.h>

#include "trace/points.h"

namespace handback {

[[nodiscard]] inline TraceRecord trace_record_of(TraceEvent event, const Kiocb& kiocb,
                                                 std::uint64_t offset,
                                                 std::uint64_t length) noexcept {
  return TraceRecord{.request = reinterpret_cast<std::uintptr_t>(&kiocb),
                     .file_id = kiocb.ki_filp != nullptr ? kiocb.ki_filp->file_id() : 0,
                     .offset = offset,
                     .length = length,
                     .flags = kiocb.ki_flags,
                     .event = event,
                     .route = kiocb.route,
                     .reason = kiocb.route_reason,
                     .aio = !kiocb.is_sync()};
}

}  // namespace handback
