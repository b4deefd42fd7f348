// What a trace point is made of: the switch that it asks, and where its record goes.
//
//   if (trace_enabled()) [[unlikely]]
//     trace_emit(TraceRecord{.event = TraceEvent::nudge, …});
#pragma once

#include <handback/trace.h>
#include <atomic>
#include <cstdint>

// 0 builds the library without the points, to measure what they cost.
#ifndef HB_TRACE_POINTS
#define HB_TRACE_POINTS 1
#endif

namespace handback {

// The low half is the semaphore of all USDT probes: whoever attaches to one has the kernel count it
// up in this process. The high half is ours. So a point asks for both in one load.
inline constexpr std::uint32_t trace_switch_probes = 0xffffU;
inline constexpr std::uint32_t trace_switch_records = 0x10000U;
extern "C" [[gnu::visibility("hidden")]] constinit std::atomic<std::uint32_t> handback_trace_switch;

// Somebody listens.
[[nodiscard]] inline bool trace_enabled() noexcept {
#if HB_TRACE_POINTS
  return handback_trace_switch.load(std::memory_order_relaxed) != 0;
#else
  return false;
#endif
}

// Now, on the clock of TraceRecord::time_ns.
[[nodiscard]] std::uint64_t trace_now_ns() noexcept;

// Fires the event's probe and records it. Fills in the thread, the CPU and the context; and the
// time, unless the point has taken it before. Any context, signal handlers included.
[[gnu::cold]] void trace_emit(TraceRecord record) noexcept;

}  // namespace handback
