// The trace of real requests: which events, with which fields, where.
#include <unistd.h>

#include <array>
#include <atomic>
#include <latch>

#include "dio/dio_test_support.h"
#include "trace/trace_test_support.h"

namespace handback::testing {
namespace {

using Events = std::vector<TraceEvent>;
constexpr TraceEvent begin = TraceEvent::iomap_dio_rw_begin;
constexpr TraceEvent queued = TraceEvent::iomap_dio_rw_queued;
constexpr TraceEvent completed = TraceEvent::iomap_dio_complete;
constexpr TraceEvent deliver = TraceEvent::deliver;

class DioTrace : public ::testing::Test {
 protected:
  DioTrace() : buffer(random_buffer(65536, 5)) {
    rig.file.map(0, 65536, 131072, IomapType::mapped);
    rig.file.size = 65536;
  }

  // What every event of one request says alike.
  void expect_request(std::uint64_t offset, std::uint64_t length, const std::string& flags,
                      bool aio = true) {
    for (const TraceRecord& record : trace.all()) {
      SCOPED_TRACE(to_string(record.event));
      EXPECT_EQ(record.offset, offset);
      EXPECT_EQ(record.length, length);
      EXPECT_EQ(to_string(record.flags), flags);
      EXPECT_EQ(record.aio, aio);
      EXPECT_EQ(record.request, trace.all().front().request);
    }
  }
  void expect_settled(IoResult result, Route route, RouteReason reason, Context context) {
    const auto settled = trace.of(completed);
    ASSERT_EQ(settled.size(), 1U);
    EXPECT_EQ(settled[0].result(), result);
    EXPECT_EQ(settled[0].route, route);
    EXPECT_EQ(settled[0].reason, reason);
    EXPECT_EQ(settled[0].context, context);
    EXPECT_FALSE(settled[0].adopted);
  }

  FakeRig rig;
  AlignedBuffer buffer;
  RecordedTrace trace;
};

TEST_F(DioTrace, OfARead) {
  EXPECT_EQ(rig.read(8192, buffer.span().first(12288)), IoResult::success(12288));
  EXPECT_EQ(trace.events(), (Events{begin, queued, completed, deliver}));
  expect_request(8192, 12288, "DIRECT|DIO_DEFER");
  expect_settled(IoResult::success(12288), Route::inline_, RouteReason::read_ok, Context::device);
  EXPECT_EQ(trace.all()[0].size_bytes(), 65536U);
  EXPECT_EQ(trace.all()[0].context, Context::task);
  EXPECT_EQ(trace.all()[3].context, Context::task);
  EXPECT_EQ(trace.all()[3].route, Route::inline_);
  EXPECT_EQ(trace.all()[3].result(), IoResult::success(12288));
}

TEST_F(DioTrace, OfAnOverwriteThatNeedsSeveralBios) {
  Geometry geometry = FakeDevice::default_geometry();
  geometry.transfer_bytes_max = 4096;
  FakeRig small(geometry);
  small.file.map(0, 65536, 131072, IomapType::mapped);
  small.file.size = 65536;
  EXPECT_EQ(small.write(4096, buffer.span().first(16384)), IoResult::success(16384));
  EXPECT_EQ(small.device.seen.size(), 4U);
  EXPECT_EQ(trace.events(), (Events{begin, queued, completed, deliver}));
  // Where the kernel would print what is left, and where it has come to.
  expect_request(4096, 16384, "DIRECT|WRITE|DIO_DEFER");
  expect_settled(IoResult::success(16384), Route::inline_, RouteReason::pure_overwrite,
                 Context::device);
}

TEST_F(DioTrace, OfADsyncWriteThatExtends) {
  rig.file.map(65536, 8192, 262144, IomapType::unwritten);
  EXPECT_EQ(rig.write(65536, buffer.span().first(8192), KiocbFlags::dsync),
            IoResult::success(8192));
  EXPECT_EQ(rig.file.synced.size(), 1U);
  EXPECT_EQ(trace.events(), (Events{begin, queued, completed, deliver}));
  expect_request(65536, 8192, "DSYNC|DIRECT|WRITE|DIO_DEFER");
  expect_settled(IoResult::success(8192), Route::issuer, RouteReason::extending, Context::issuer);
  EXPECT_EQ(trace.all()[0].size_bytes(), 65536U) << "before the write";
}

TEST_F(DioTrace, OfAContinuationIsSettledWhenThatEnded) {
  rig.file.on_write_sync = [&](Kiocb&, const DioEnd&) -> Outcome {
    EXPECT_TRUE(trace.of(completed).empty());
    return IoResult::failure(Errc::poisoned);
  };
  rig.file.map(65536, 4096, 262144, IomapType::unwritten);
  EXPECT_EQ(rig.write(65536, buffer.span().first(4096), KiocbFlags::dsync),
            IoResult::failure(Errc::poisoned));
  expect_settled(IoResult::failure(Errc::poisoned), Route::issuer, RouteReason::extending,
                 Context::issuer);
}

TEST_F(DioTrace, OfAWriteThatFails) {
  rig.device.hold(true);
  Aiocb aiocb;
  aiocb.prepare_write(rig.file, 4096, buffer.span().first(4096));
  rig.issuer->submit(aiocb);
  rig.device.end_in_poll(0, IoResult::host_failure(EIO));
  while (rig.issuer->in_flight() != 0)
    rig.issuer->wait();
  EXPECT_EQ(trace.events(), (Events{begin, queued, completed, deliver}));
  expect_request(4096, 4096, "DIRECT|WRITE|DIO_DEFER");
  expect_settled(IoResult::host_failure(EIO), Route::issuer, RouteReason::error, Context::issuer);
}

TEST_F(DioTrace, OfARequestThatCannotBeMappedHasNothingQueued) {
  rig.file.on_begin = [](const IomapRequest&) { return IoResult::failure(Errc::no_space); };
  EXPECT_EQ(rig.write(0, buffer.span().first(4096)), IoResult::failure(Errc::no_space));
  EXPECT_EQ(trace.events(), (Events{begin, completed, deliver}));
  expect_settled(IoResult::failure(Errc::no_space), Route::submit, RouteReason::error,
                 Context::task);
}

TEST_F(DioTrace, OfARequestThatIsRefusedHasItsDeliveryOnly) {
  EXPECT_EQ(rig.read(1, buffer.span().first(4096)),
            IoResult::failure(Errc::invalid, IoDetail::offset_unaligned));
  EXPECT_EQ(trace.events(), (Events{deliver}));
  expect_request(1, 4096, "DIRECT|DIO_DEFER");
}

TEST_F(DioTrace, OfASynchronousCallerHasNothingQueuedOrDelivered) {
  EXPECT_EQ(rig.write_sync_caller(0, buffer.span().first(4096)), IoResult::success(4096));
  EXPECT_EQ(trace.events(), (Events{begin, completed}));
  expect_request(0, 4096, "DIRECT|WRITE", false);
  expect_settled(IoResult::success(4096), Route::waiter, RouteReason::sync_caller, Context::task);
}

TEST_F(DioTrace, OfARequestInLineIsQueuedWhenItsTurnHasCome) {
  Aiocb aiocb;
  {
    const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096);
    aiocb.prepare_write(rig.file, 0, buffer.span().first(4096));
    rig.issuer->submit(aiocb);
    EXPECT_EQ(trace.events(), (Events{TraceEvent::drain_begin, TraceEvent::drain_end, begin}));
  }
  while (rig.issuer->in_flight() != 0)
    rig.issuer->wait();
  EXPECT_EQ(trace.events(), (Events{TraceEvent::drain_begin, TraceEvent::drain_end, begin, queued,
                                    completed, deliver}));
}

TEST_F(DioTrace, OfADrainSaysHowLongItWaited) {
  rig.device.hold(true);
  Aiocb aiocb;
  aiocb.prepare_read(rig.file, 0, buffer.span().first(4096));
  rig.issuer->submit(aiocb);
  static_cast<void>(trace.all());
  std::thread device([&] {
    // Once the drain has begun, and so stands in line.
    while (trace_read().records.empty()) {
    }
    rig.device.end_here();
  });
  { const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096); }
  device.join();
  const auto ends = trace.of(TraceEvent::drain_end);
  ASSERT_EQ(ends.size(), 1U);
  EXPECT_EQ(ends[0].offset, 0U);
  EXPECT_EQ(ends[0].length, 4096U);
  EXPECT_GT(ends[0].waited_ns(), 0U);
  while (rig.issuer->in_flight() != 0)
    rig.issuer->wait();
}

// A file's own request (a clone for a lower file) is handed back like any other, and has nothing of
// an Aiocb behind it.
TEST_F(DioTrace, OfAnAdoptedRequestThatIsNoAiocbHasNoLength) {
  rig.file.map(65536, 4096, 262144, IomapType::unwritten);
  rig.device.hold(true);
  struct Clone : Kiocb {
    std::array<unsigned char, 128> beyond{};
    std::atomic<bool> ended{false};
  } clone;
  clone.beyond.fill(0xff);
  clone.ki_filp = &rig.file;
  clone.ki_pos = 65536;
  clone.ki_flags = KiocbFlags::direct | KiocbFlags::write | KiocbFlags::dio_defer;
  clone.ki_complete = [](Kiocb& kiocb, Outcome outcome) noexcept {
    if (outcome.is_final()) {
      static_cast<Clone&>(kiocb).ended = true;
    } else {
      kiocb.issuer->hand_back(kiocb);
    }
  };
  const iovec segment{buffer.data(), 4096};
  std::latch submitted{1};
  std::latch drained{1};
  std::thread outsider([&] {
    const auto issuer = make_issuer({.nudge_signal = 0});
    clone.issuer = issuer.get();
    EXPECT_FALSE(rig.file.write_iter(clone, IovView{&segment, 1}).is_final());
    submitted.count_down();
    drained.wait();
  });
  submitted.wait();
  rig.device.end_here();
  { const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 65536, 4096); }
  EXPECT_TRUE(clone.ended);
  drained.count_down();
  outsider.join();
  const auto adopted = trace.of(TraceEvent::adopt);
  ASSERT_EQ(adopted.size(), 1U);
  EXPECT_EQ(adopted[0].offset, 65536U);
  EXPECT_EQ(adopted[0].length, 0U);
}

// Another thread's write, handed back to it and settled by this one, which drains.
TEST_F(DioTrace, OfAnAdoptedCompletionNamesBothThreads) {
  rig.file.map(65536, 4096, 262144, IomapType::unwritten);
  rig.device.hold(true);
  std::latch submitted{1};
  std::latch drained{1};
  std::uint32_t owner = 0;
  std::thread outsider([&] {
    owner = static_cast<std::uint32_t>(::gettid());
    const auto issuer = make_issuer({.nudge_signal = 0});
    Aiocb aiocb;
    aiocb.prepare_write(rig.file, 65536, buffer.span().first(4096));
    issuer->submit(aiocb);
    submitted.count_down();
    drained.wait();
    while (issuer->in_flight() != 0)
      issuer->wait();
  });
  submitted.wait();
  rig.device.end_here();
  { const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 65536, 4096); }
  drained.count_down();
  outsider.join();

  const auto own = static_cast<std::uint32_t>(::gettid());
  EXPECT_EQ(trace.events(), (Events{begin, queued, TraceEvent::drain_begin, TraceEvent::adopt,
                                    completed, TraceEvent::drain_end, deliver}));
  const auto& all = trace.all();
  EXPECT_EQ(all[0].tid, owner);
  const TraceRecord& adopt = all[3];
  EXPECT_EQ(adopt.tid, own);
  EXPECT_EQ(adopt.other_tid(), owner);
  EXPECT_EQ(adopt.request, all[0].request);
  EXPECT_EQ(adopt.offset, 65536U);
  EXPECT_EQ(adopt.length, 4096U);
  EXPECT_EQ(adopt.context, Context::issuer);
  const TraceRecord& settled = all[4];
  EXPECT_EQ(settled.tid, own);
  EXPECT_TRUE(settled.adopted);
  EXPECT_EQ(settled.context, Context::issuer);
  EXPECT_EQ(settled.route, Route::issuer);
  EXPECT_EQ(settled.reason, RouteReason::extending);
  EXPECT_EQ(settled.offset, 65536U);
  EXPECT_EQ(all[6].tid, owner);
}

TEST_F(DioTrace, MayBeginAndEndWhileRequestsAreInFlight) {
  trace_stop();
  rig.device.hold(true);
  Aiocb first;
  Aiocb second;
  first.prepare_read(rig.file, 0, buffer.span().first(4096));
  rig.issuer->submit(first);
  trace_start();
  rig.device.end_in_poll();
  rig.issuer->wait();
  EXPECT_EQ(trace.events(), (Events{completed, deliver}));
  second.prepare_read(rig.file, 4096, buffer.span().first(4096));
  rig.issuer->submit(second);
  trace_stop();
  rig.device.end_in_poll();
  rig.issuer->wait();
  EXPECT_EQ(trace.events(), (Events{completed, deliver, begin, queued}));
  EXPECT_EQ(second.result, IoResult::success(4096));
}

TEST_F(DioTrace, WritesNothingWhenItIsOff) {
  trace_stop();
  EXPECT_EQ(rig.write(0, buffer.span().first(4096)), IoResult::success(4096));
  { const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096); }
  EXPECT_TRUE(trace.all().empty());
}

}  // namespace
}  // namespace handback::testing
