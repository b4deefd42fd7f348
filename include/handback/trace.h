// Traces: what happened to each request, when, on which thread, and why there.
//
// Events are named after the kernel's and carry a request's own offset and length throughout. They
// are fixed-size records in a buffer of each thread that had one; whoever reads takes those of all
// threads together. Tracing is switched at run time for the whole process; off, each point costs
// one load and a branch that is never taken. The same points are USDT probes of the provider
// `handback`, which work without all of this. docs/tracing.md has every event, field and recipe.
//
// Thread class: any thread, in task context, except where said otherwise. Nothing here survives a
// crash.
#pragma once

#include <handback/contract.h>
#include <handback/error.h>
#include <handback/kiocb_flags.h>
#include <handback/route.h>
#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace handback {

enum class TraceEvent : std::uint8_t {
  iomap_dio_rw_begin,   // A request passed its checks; nothing was done for it yet.
  iomap_dio_rw_queued,  // It has bios in flight, and its caller does not wait for them.
  iomap_dio_complete,   // It is settled: all is done but telling the user.
  deliver,              // Its callback is about to run. Also of requests that were refused.
  adopt,                // Work handed back to one issuer was claimed by another that waits.
  nudge,                // A thread was sent the signal that makes it reap its rings.
  drain_begin,          // Somebody wants a range of a file for itself.
  drain_end,            // It has it.
  lost,                 // A thread's buffer was full: as many of its events are missing here.
};
inline constexpr unsigned trace_event_count = 9;

// "iomap_dio_rw_begin", …, "handback_deliver", …: as in all formats, and as the probe is called.
[[nodiscard]] std::string_view to_string(TraceEvent event) noexcept;

// One event. Which fields an event has is in docs/tracing.md; the others are zero.
struct TraceRecord {
  std::uint64_t time_ns = 0;  // CLOCK_MONOTONIC.
  // Tells requests that live at the same time apart: the address of the Kiocb (or of the drain).
  std::uint64_t request = 0;
  std::uint64_t file_id = 0;  // File::file_id(): the inode number of a volume's file, else 0.
  std::uint64_t offset =
      0;  // Bytes: where the request began; with APPEND the offset that was used.
  std::uint64_t length = 0;  // Bytes: of the whole request.
  std::uint64_t value = 0;   // By event; see the functions below.
  std::uint32_t tid = 0;     // The thread on which it happened, as gettid() says.
  KiocbFlags flags = KiocbFlags::none;
  std::uint16_t cpu = 0;
  TraceEvent event = TraceEvent::iomap_dio_rw_begin;
  Context context = Context::task;  // In which it happened.
  Route route = Route::none;
  RouteReason reason = RouteReason::none;
  bool aio = false;      // Somebody is told later; false: the caller waits in the call.
  bool adopted = false;  // Settled in issuer context, but by the thread of another issuer.

  // iomap_dio_rw_begin, iomap_dio_rw_queued: the file's size at that time.
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return value; }
  // iomap_dio_complete, deliver.
  [[nodiscard]] IoResult result() const noexcept { return std::bit_cast<IoResult>(value); }
  // adopt: whose work it was. nudge: who was sent the signal.
  [[nodiscard]] std::uint32_t other_tid() const noexcept {
    return static_cast<std::uint32_t>(value);
  }
  // drain_end: since drain_begin.
  [[nodiscard]] std::uint64_t waited_ns() const noexcept { return value; }
  // lost.
  [[nodiscard]] std::uint64_t lost_count() const noexcept { return value; }
};
static_assert(sizeof(TraceRecord) == 64, "a record is a cache line");

struct TraceOptions {
  // Events of one thread that can wait to be read; rounded up to a power of two, at most 2^20. Each
  // takes 64 bytes once it was used. When a buffer is full its newest events are dropped and
  // counted.
  std::uint32_t records_per_thread = 16384;
};

// Begins to record, in this process, on all threads; requests in flight too. Recording already: the
// new options hold from each thread's next event on. What was not read yet stays.
// A thread's first event allocates its buffer; after that nothing allocates. Of at most 1024
// buffers at a time: events of further threads are counted as lost.
void trace_start(const TraceOptions& options = {}) noexcept;

// Ends it. An event that another thread is just writing may still be recorded.
void trace_stop() noexcept;

[[nodiscard]] bool trace_is_recording() noexcept;

struct TraceThread {
  std::uint32_t tid = 0;
  std::string name;  // As the system knows it, when the thread had its first event.
};

struct TraceBatch {
  std::vector<TraceRecord> records;  // By time.
  std::uint64_t lost = 0;            // The sum of the `lost` events among them.
  std::vector<TraceThread> threads;  // All that occur in `records`.
};

// Takes what all threads have recorded and nobody has read yet, those that ended included. One
// reader at a time; a second one waits. Batches continue each other in time, except for an event
// that was just being written when this began: it comes with the next batch.
// Throws std::bad_alloc; then nothing is lost but what it had taken.
[[nodiscard]] TraceBatch trace_read();

enum class TraceFormat : std::uint8_t {
  ftrace,  // Text, laid out as the kernel's `trace` file.
  json,    // One object a line.
  chrome,  // Trace Event Format, for Perfetto and chrome://tracing: a span for each request.
};

// Turns batches into one document, piece by piece. Thread class: one thread at a time.
class TraceWriter {
 public:
  // `process` names the process in chrome's format; 0: the calling one.
  explicit TraceWriter(TraceFormat format, std::uint32_t process = 0);
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;
  ~TraceWriter();

  // The batch as text. What is first returned begins the document.
  [[nodiscard]] std::string write(const TraceBatch& batch);
  // What ends the document. Nothing may follow.
  [[nodiscard]] std::string finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace handback
