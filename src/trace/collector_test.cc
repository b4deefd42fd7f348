// Buffers of threads, and whoever reads them.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/context.h"
#include "trace/buffer.h"
#include "trace/points.h"
#include "trace/trace_test_support.h"

namespace handback::testing {
namespace {

void emit(std::uint64_t number, std::uint64_t request = 0) {
  if (trace_enabled())
    trace_emit(TraceRecord{.request = request, .offset = number, .event = TraceEvent::deliver});
}

std::vector<std::uint64_t> numbers(const std::vector<TraceRecord>& records) {
  std::vector<std::uint64_t> found;
  for (const TraceRecord& record : records)
    found.push_back(record.event == TraceEvent::lost ? 1000 + record.lost_count() : record.offset);
  return found;
}
using Numbers = std::vector<std::uint64_t>;

TEST(Trace, RecordsNothingWhileItIsOff) {
  static_cast<void>(trace_read());
  EXPECT_FALSE(trace_is_recording());
  emit(1);
  // Even a point that did not ask.
  trace_emit(TraceRecord{.event = TraceEvent::deliver});
  EXPECT_TRUE(trace_read().records.empty());
  trace_start();
  EXPECT_TRUE(trace_is_recording());
  emit(2);
  trace_stop();
  emit(3);
  EXPECT_EQ(numbers(trace_read().records), (Numbers{2}));
}

TEST(Trace, FillsInWhenWhereAndInWhichContext) {
  RecordedTrace trace;
  const std::uint64_t before_ns = trace_now_ns();
  emit(1);
  {
    const ContextScope scope(Context::device);
    emit(2);
  }
  const std::uint64_t after_ns = trace_now_ns();
  trace_emit(TraceRecord{.time_ns = before_ns, .offset = 3, .event = TraceEvent::deliver});
  const auto& all = trace.all();
  ASSERT_EQ(numbers(all), (Numbers{3, 1, 2})) << "a time that a point took itself counts";
  EXPECT_EQ(all[0].time_ns, before_ns);
  EXPECT_LE(before_ns, all[1].time_ns);
  EXPECT_LE(all[1].time_ns, all[2].time_ns);
  EXPECT_LE(all[2].time_ns, after_ns);
  EXPECT_EQ(all[1].context, Context::task);
  EXPECT_EQ(all[2].context, Context::device);
  EXPECT_EQ(all[1].tid, static_cast<std::uint32_t>(::gettid()));
}

TEST(Trace, GivesEachEventOnce) {
  RecordedTrace trace;
  emit(1);
  EXPECT_EQ(numbers(trace_read().records), (Numbers{1}));
  emit(2);
  emit(3);
  EXPECT_EQ(numbers(trace_read().records), (Numbers{2, 3}));
  EXPECT_TRUE(trace_read().records.empty());
}

TEST(Trace, DropsTheNewestOfAFullBufferAndSaysWhereAndHowMany) {
  RecordedTrace trace({.records_per_thread = 4});
  for (std::uint64_t i = 1; i <= 7; ++i)
    emit(i);
  const TraceBatch full = trace_read();
  EXPECT_EQ(numbers(full.records), (Numbers{1, 2, 3, 4, 1003}));
  EXPECT_EQ(full.lost, 3U);
  EXPECT_EQ(full.records.back().tid, static_cast<std::uint32_t>(::gettid()));
  // There is room again, wherever in the buffer it begins.
  for (std::uint64_t i = 8; i <= 10; ++i)
    emit(i);
  EXPECT_EQ(numbers(trace_read().records), (Numbers{8, 9, 10}));
  for (std::uint64_t i = 11; i <= 15; ++i)
    emit(i);
  const TraceBatch wrapped = trace_read();
  EXPECT_EQ(numbers(wrapped.records), (Numbers{11, 12, 13, 14, 1001}));
  EXPECT_EQ(wrapped.lost, 1U);
  EXPECT_EQ(trace_read().lost, 0U);
}

TEST(Trace, RoundsARingUpToAPowerOfTwo) {
  RecordedTrace trace({.records_per_thread = 5});
  for (std::uint64_t i = 1; i <= 9; ++i)
    emit(i);
  EXPECT_EQ(numbers(trace_read().records), (Numbers{1, 2, 3, 4, 5, 6, 7, 8, 1001}));
}

TEST(Trace, KeepsWhatIsUnreadWhenTheBufferSizeChanges) {
  RecordedTrace trace({.records_per_thread = 2});
  emit(1);
  emit(2);
  emit(3);
  trace_start({.records_per_thread = 4});
  for (std::uint64_t i = 4; i <= 8; ++i)
    emit(i);
  const TraceBatch batch = trace_read();
  EXPECT_EQ(numbers(batch.records), (Numbers{1, 2, 1001, 4, 5, 6, 7, 1001}));
  EXPECT_EQ(batch.lost, 2U);
}

TEST(Trace, KeepsTheEventsAndTheNameOfAThreadThatEnded) {
  RecordedTrace trace;
  std::uint32_t tid = 0;
  std::thread([&] {
    ::pthread_setname_np(::pthread_self(), "short-lived");
    tid = static_cast<std::uint32_t>(::gettid());
    emit(1);
  }).join();
  emit(2);
  const TraceBatch batch = trace_read();
  EXPECT_EQ(numbers(batch.records), (Numbers{1, 2}));
  EXPECT_EQ(batch.records[0].tid, tid);
  ASSERT_EQ(batch.threads.size(), 2U);
  const auto named = std::find_if(batch.threads.begin(), batch.threads.end(),
                                  [&](const TraceThread& thread) { return thread.tid == tid; });
  ASSERT_NE(named, batch.threads.end());
  EXPECT_EQ(named->name, "short-lived");
  EXPECT_TRUE(trace_read().threads.empty()) << "only threads of the batch";
}

// Their destructors run first, and may have events.
struct LastWords {
  ~LastWords() { emit(77); }
};

TEST(Trace, RecordsWhatDestructorsOfAnEndingThreadDo) {
  RecordedTrace trace;
  std::thread([] {
    static thread_local LastWords words;
    static_cast<void>(&words);
    emit(1);
  }).join();
  EXPECT_EQ(numbers(trace.all()), (Numbers{1, 77}));
}

// Buffers of threads that ended are given back when they were read: more threads than there may be
// buffers at a time lose nothing.
TEST(Trace, HasNoMoreBuffersThanThreadsAndUnreadEnds) {
  RecordedTrace trace({.records_per_thread = 1});
  for (std::uint64_t i = 0; i < 1200; ++i) {
    std::thread([i] { emit(i); }).join();
    if (i % 100 == 99) static_cast<void>(trace.all());
  }
  EXPECT_EQ(trace.of(TraceEvent::deliver).size(), 1200U);
  EXPECT_EQ(trace.lost, 0U);
}

TEST(Trace, CountsTheEventsOfThreadsBeyondTheLimit) {
  RecordedTrace trace({.records_per_thread = 1});
  emit(0);
  static_cast<void>(trace_read());  // This thread's buffer is now one of the 1024.
  for (std::uint64_t i = 1; i <= 1030; ++i)
    std::thread([i] { emit(i); }).join();
  const TraceBatch batch = trace_read();
  EXPECT_EQ(batch.lost, 7U);
  EXPECT_EQ(batch.records.size(), 1024U) << "the last says how many were lost";
}

// Two threads write as fast as they can, a third reads: each event is either read, once and in its
// thread's order, or counted as lost.
TEST(Trace, IsReadWhileThreadsWrite) {
  constexpr std::uint64_t events_each = 200'000;
  RecordedTrace trace({.records_per_thread = 1024});
  std::atomic<unsigned> running{2};
  const auto produce = [&](std::uint64_t who) {
    for (std::uint64_t i = 1; i <= events_each; ++i)
      emit(i, who);
    --running;
  };
  std::thread first(produce, 1);
  std::thread second(produce, 2);
  std::uint64_t read = 0;
  std::uint64_t lost = 0;
  std::uint64_t last_number[3] = {};
  for (bool last_look = false; !last_look;) {
    last_look = running == 0;
    const TraceBatch batch = trace_read();
    std::uint64_t last_ns = 0;
    for (const TraceRecord& record : batch.records) {
      EXPECT_LE(last_ns, record.time_ns);
      last_ns = record.time_ns;
      if (record.event == TraceEvent::lost) continue;
      ASSERT_LT(last_number[record.request], record.offset);
      last_number[record.request] = record.offset;
      ++read;
    }
    lost += batch.lost;
  }
  first.join();
  second.join();
  EXPECT_EQ(read + lost, 2 * events_each);
}

}  // namespace
}  // namespace handback::testing
