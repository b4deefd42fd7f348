#include "trace/probes.h"

#include "trace/points.h"

#if HB_SDT
#define _SDT_HAS_SEMAPHORES 1  // NOLINT: sys/sdt.h asks for this name.
#include <sys/sdt.h>
#endif

namespace handback {

extern "C" {
// The section is where tools expect semaphores, and it is in the file, which the kernel needs.
[[gnu::visibility("hidden"), gnu::section(".probes")]] constinit std::atomic<std::uint32_t>
    handback_trace_switch{0};
static_assert(std::endian::native == std::endian::little,
              "the kernel counts in the first two bytes of the switch");

#if HB_SDT
// Each probe's note names a semaphore of its own. All are the one switch: whoever attaches to any
// probe opens all points, and trace_emit() finds nothing to do at the others.
#define HB_SEMAPHORE(event)                         \
  extern std::uint16_t handback_##event##_semaphore \
      [[gnu::visibility("hidden"), gnu::alias("handback_trace_switch")]]
HB_SEMAPHORE(iomap_dio_rw_begin);
HB_SEMAPHORE(iomap_dio_rw_queued);
HB_SEMAPHORE(iomap_dio_complete);
HB_SEMAPHORE(handback_deliver);
HB_SEMAPHORE(handback_adopt);
HB_SEMAPHORE(handback_nudge);
HB_SEMAPHORE(handback_drain_begin);
HB_SEMAPHORE(handback_drain_end);
#undef HB_SEMAPHORE
#endif
}

#if HB_SDT

void fire_probe(const TraceRecord& r) noexcept {
  const auto flags = static_cast<std::uint32_t>(r.flags);
  const int aio = r.aio ? 1 : 0;
  const int adopted = r.adopted ? 1 : 0;
  const IoResult result = r.result();
  const std::int64_t ret =
      result.ok() ? std::int64_t{result.bytes()} : -static_cast<std::int64_t>(result.code());
  // Names rather than numbers, for str(): each is a literal and ends with a zero.
  const char* route = to_string(r.route).data();
  const char* reason = to_string(r.reason).data();
  const char* context = to_string(r.context).data();
  // The most useful arguments come first: bpftrace 0.17 can use six.
  switch (r.event) {
    case TraceEvent::iomap_dio_rw_begin:
      DTRACE_PROBE7(handback, iomap_dio_rw_begin, r.request, r.file_id, r.offset, r.length, flags,
                    r.size_bytes(), aio);
      return;
    case TraceEvent::iomap_dio_rw_queued:
      DTRACE_PROBE6(handback, iomap_dio_rw_queued, r.request, r.file_id, r.offset, r.length, flags,
                    r.size_bytes());
      return;
    case TraceEvent::iomap_dio_complete:
      DTRACE_PROBE11(handback, iomap_dio_complete, r.request, r.offset, r.length, ret, route,
                     reason, r.file_id, flags, context, adopted, aio);
      return;
    case TraceEvent::deliver:
      DTRACE_PROBE8(handback, handback_deliver, r.request, r.offset, r.length, ret, route, reason,
                    r.file_id, flags);
      return;
    case TraceEvent::adopt:
      DTRACE_PROBE6(handback, handback_adopt, r.request, r.file_id, r.offset, r.length, flags,
                    r.other_tid());
      return;
    case TraceEvent::nudge:
      DTRACE_PROBE1(handback, handback_nudge, r.other_tid());
      return;
    case TraceEvent::drain_begin:
      DTRACE_PROBE3(handback, handback_drain_begin, r.request, r.offset, r.length);
      return;
    case TraceEvent::drain_end:
      DTRACE_PROBE4(handback, handback_drain_end, r.request, r.offset, r.length, r.waited_ns());
      return;
    case TraceEvent::lost:
      return;
  }
}

#else

void fire_probe(const TraceRecord& /*record*/) noexcept {}

#endif

}  // namespace handback
