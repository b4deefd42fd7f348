// All threads' buffers: who gets one, and who reads them.
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <mutex>

#include "base/context.h"
#include "base/shield.h"
#include "trace/buffer.h"
#include "trace/points.h"
#include "trace/probes.h"

namespace handback {
namespace {

constexpr std::uint32_t records_max = 1U << 20;
constexpr std::uint32_t buffers_max = 1024;
constexpr std::int64_t no_key = -1;

// What the threads use. Plain globals without destructors: threads may outlive everything.
constinit std::atomic<TraceBuffer*> first_buffer{nullptr};
constinit std::atomic<std::uint32_t> buffer_count{0};
constinit std::atomic<std::uint32_t> records_wanted{0};
constinit std::atomic<std::uint64_t> lost_without_buffer{0};
// Its destructor ends the buffer of a thread that ends, after those of C++, which may have events.
constinit std::atomic<std::int64_t> end_key{no_key};

// Initial-exec: a signal handler must not be the one that makes a thread's copy.
[[gnu::tls_model("initial-exec")]] constinit thread_local TraceBuffer* own_buffer = nullptr;

void thread_ends(void* buffer) noexcept {
  static_cast<TraceBuffer*>(buffer)->end();
  own_buffer = nullptr;
}

// Null if there are too many, or no memory.
TraceBuffer* new_buffer() noexcept {
  if (buffer_count.fetch_add(1, std::memory_order_relaxed) >= buffers_max) {
    buffer_count.fetch_sub(1, std::memory_order_relaxed);
    return nullptr;
  }
  TraceBuffer* buffer = TraceBuffer::map(records_wanted.load(std::memory_order_relaxed));
  if (buffer == nullptr) {
    buffer_count.fetch_sub(1, std::memory_order_relaxed);
    return nullptr;
  }
  buffer->next = first_buffer.load(std::memory_order_relaxed);
  while (!first_buffer.compare_exchange_weak(buffer->next, buffer, std::memory_order_release,
                                             std::memory_order_relaxed)) {
  }
  return buffer;
}

TraceBuffer* buffer_of_this_thread() noexcept {
  if (own_buffer != nullptr) {
    if (own_buffer->capacity() == records_wanted.load(std::memory_order_relaxed)) [[likely]]
      return own_buffer;
    own_buffer->end();
  }
  own_buffer = new_buffer();
  // Null, too: the one that ended may be gone before the thread is.
  if (const std::int64_t key = end_key.load(std::memory_order_relaxed); key != no_key)
    ::pthread_setspecific(static_cast<pthread_key_t>(key), own_buffer);
  return own_buffer;
}

// Takes an ended buffer out of the list. Only the reader does so, hence no ABA.
void forget(TraceBuffer& buffer) noexcept {
  TraceBuffer* first = &buffer;
  if (!first_buffer.compare_exchange_strong(first, buffer.next, std::memory_order_acquire)) {
    while (first->next != &buffer)
      first = first->next;
    first->next = buffer.next;
  }
  TraceBuffer::unmap(buffer);
  buffer_count.fetch_sub(1, std::memory_order_relaxed);
}

// What readers share.
struct Reader {
  std::mutex mutex;
  std::vector<TraceRecord> held_back;  // Taken, but younger than the batch.
  std::vector<TraceThread> held_back_threads;
  std::uint64_t lost_without_buffer_taken = 0;

  TraceBatch read();
};

Reader& reader() {
  // Never destroyed: a thread may read while the program exits.
  static auto& shared = *new Reader();
  return shared;
}

// Of `all`, where a later entry takes the place of an earlier one, the threads in `records`.
std::vector<TraceThread> threads_of(const std::vector<TraceRecord>& records,
                                    const std::vector<TraceThread>& all) {
  std::vector<TraceThread> found;
  for (auto thread = all.rbegin(); thread != all.rend(); ++thread) {
    const auto same = [&](const auto& other) { return other.tid == thread->tid; };
    if (std::any_of(found.begin(), found.end(), same)) continue;
    if (std::any_of(records.begin(), records.end(), same)) found.push_back(*thread);
  }
  std::reverse(found.begin(), found.end());
  return found;
}

TraceBatch Reader::read() {
  // What threads record from here on, while their buffers are taken one after the other, is for the
  // next batch: of two such events the later one may be seen now, and the earlier one not.
  const std::uint64_t until_ns = trace_now_ns();
  TraceBatch batch;
  batch.records.swap(held_back);
  std::vector<TraceThread> threads = std::move(held_back_threads);
  for (TraceBuffer* buffer = first_buffer.load(std::memory_order_acquire); buffer != nullptr;) {
    TraceBuffer* next = buffer->next;
    const std::size_t before = batch.records.size();
    const bool ended = buffer->take(batch.records);
    if (batch.records.size() != before) threads.push_back({buffer->tid(), buffer->name()});
    if (ended) forget(*buffer);
    buffer = next;
  }
  const std::uint64_t lost = lost_without_buffer.load(std::memory_order_relaxed);
  if (lost != lost_without_buffer_taken) {
    batch.records.push_back(TraceRecord{
        .time_ns = until_ns, .value = lost - lost_without_buffer_taken, .event = TraceEvent::lost});
    lost_without_buffer_taken = lost;
  }
  std::stable_sort(
      batch.records.begin(), batch.records.end(),
      [](const TraceRecord& a, const TraceRecord& b) { return a.time_ns < b.time_ns; });
  const auto younger =
      std::find_if(batch.records.begin(), batch.records.end(),
                   [&](const TraceRecord& record) { return record.time_ns > until_ns; });
  held_back.assign(younger, batch.records.end());
  batch.records.erase(younger, batch.records.end());
  for (const TraceRecord& record : batch.records) {
    if (record.event == TraceEvent::lost) batch.lost += record.lost_count();
  }
  batch.threads = threads_of(batch.records, threads);
  held_back_threads = threads_of(held_back, threads);
  return batch;
}

}  // namespace

std::uint64_t trace_now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void trace_emit(TraceRecord record) noexcept {
  record.context = current_context();
  const std::uint32_t listeners = handback_trace_switch.load(std::memory_order_acquire);
  if ((listeners & trace_switch_probes) != 0) fire_probe(record);
  if ((listeners & trace_switch_records) == 0) return;
  // A nudge's handler has events, too, and must not meet a record that is half written.
  const ShieldScope shield;
  TraceBuffer* buffer = buffer_of_this_thread();
  if (buffer == nullptr) {
    lost_without_buffer.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  record.tid = buffer->tid();
  record.cpu = static_cast<std::uint16_t>(::sched_getcpu());
  if (record.time_ns == 0) record.time_ns = trace_now_ns();
  buffer->push(record);
}

void trace_start(const TraceOptions& options) noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    pthread_key_t key = 0;
    // Without a key the buffers of threads that ended stay until the process ends.
    if (::pthread_key_create(&key, &thread_ends) == 0)
      end_key.store(static_cast<std::int64_t>(key), std::memory_order_relaxed);
  });
  const std::uint32_t wanted = std::clamp(options.records_per_thread, 1U, records_max);
  records_wanted.store(std::bit_ceil(wanted), std::memory_order_relaxed);
  handback_trace_switch.fetch_or(trace_switch_records, std::memory_order_release);
}

void trace_stop() noexcept {
  handback_trace_switch.fetch_and(~trace_switch_records, std::memory_order_release);
}

bool trace_is_recording() noexcept {
  return (handback_trace_switch.load(std::memory_order_relaxed) & trace_switch_records) != 0;
}

TraceBatch trace_read() {
  Reader& shared = reader();
  const std::lock_guard guard(shared.mutex);
  return shared.read();
}

}  // namespace handback
