#include "dio/trace_points.h"

#include <bit>

#include "base/context.h"
#include "issuer/trace_record.h"

namespace handback {

void emit_rw_begin(const Kiocb& kiocb, const DioRequest& request, std::uint32_t length) noexcept {
  TraceRecord record = trace_record_of(TraceEvent::iomap_dio_rw_begin, kiocb, kiocb.ki_pos, length);
  record.value = request.dio_ops->size_bytes();
  trace_emit(record);
}

void RwQueuedPoint::prepare(const Dio& dio) noexcept {
  if (dio.kiocb->is_sync()) return;
  record_ = trace_record_of(TraceEvent::iomap_dio_rw_queued, *dio.kiocb, dio.offset, dio.length);
  record_->value = dio.request.dio_ops->size_bytes();
  record_->time_ns = trace_now_ns();
}

void emit_complete(const Kiocb& kiocb, std::uint64_t offset, std::uint32_t length,
                   IoResult result) noexcept {
  TraceRecord record = trace_record_of(TraceEvent::iomap_dio_complete, kiocb, offset, length);
  record.value = std::bit_cast<std::uint64_t>(result);
  record.adopted = current_context() == Context::issuer && !kiocb.issuer->impl().on_owner_thread();
  trace_emit(record);
}

namespace {

TraceRecord record_of(TraceEvent event, const RangeEntry& range, std::uint64_t time_ns) noexcept {
  return TraceRecord{.time_ns = time_ns,
                     .request = reinterpret_cast<std::uintptr_t>(&range),
                     .offset = range.offset,
                     .length = range.end - range.offset,
                     .event = event};
}

}  // namespace

void DrainPoint::begin(const RangeEntry& range) noexcept {
  begun_ns_ = trace_now_ns();
  trace_emit(record_of(TraceEvent::drain_begin, range, begun_ns_));
}

void DrainPoint::end(const RangeEntry& range) const noexcept {
  const std::uint64_t now_ns = trace_now_ns();
  TraceRecord record = record_of(TraceEvent::drain_end, range, now_ns);
  record.value = now_ns - begun_ns_;
  trace_emit(record);
}

}  // namespace handback
