// What an issuer tells of its requests: counters and trace records.
#include <algorithm>

#include "issuer/issuer_impl.h"
#include "issuer/issuer_test_support.h"
#include "trace/trace_test_support.h"

namespace handback::testing {
namespace {

// Ends every request at once with what the test says.
void end_with(FakeFile& file, IoResult result, Route route, RouteReason reason) {
  file.on_start = [=](Kiocb& kiocb, IovView) -> Outcome {
    kiocb.route = route;
    kiocb.route_reason = reason;
    return result;
  };
}

TEST(IssuerStatistics, CountRequestsBytesAndFailures) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  const auto read = [&](IoResult result) {
    end_with(file, result, Route::inline_, RouteReason::read_ok);
    aiocb.prepare_read_of(file);
    static_cast<void>(issuer->run(aiocb));
  };
  const auto write = [&](IoResult result) {
    end_with(file, result, Route::inline_, RouteReason::pure_overwrite);
    aiocb.prepare_write_of(file);
    static_cast<void>(issuer->run(aiocb));
  };
  read(IoResult::success(512));
  read(IoResult::success(4096));
  write(IoResult::success(1024));
  read(IoResult::host_failure(EIO, 100));  // Bytes of a failure count nowhere.
  write(IoResult::failure(Errc::no_space));
  const IssuerStats& stats = issuer->stats();
  EXPECT_EQ(stats.submitted, 5U);
  EXPECT_EQ(stats.delivered, 5U);
  EXPECT_EQ(stats.read_bytes, 4608U);
  EXPECT_EQ(stats.write_bytes, 1024U);
  EXPECT_EQ(stats.failed, 2U);
  EXPECT_EQ(stats.foreign, 0U);
  EXPECT_EQ(stats.pool_growths, 0U);
}

TEST(IssuerStatistics, CountADeliveryWhenItHappens) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  EXPECT_EQ(issuer->stats().submitted, 1U);
  EXPECT_EQ(issuer->stats().delivered, 0U);
  complete(aiocb, IoResult::success(512));
  EXPECT_EQ(issuer->stats().delivered, 0U);
  std::uint64_t seen_by_callback = 0;
  aiocb.on_delivered = [&] { seen_by_callback = issuer->stats().delivered; };
  issuer->poll();
  EXPECT_EQ(seen_by_callback, 1U);
}

TEST(IssuerStatistics, CountEveryRouteAndReasonInItsPlace) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  // Route r (r + 1) times, reason n by turns.
  std::array<std::uint64_t, route_count> by_route{};
  std::array<std::uint64_t, route_reason_count> by_reason{};
  unsigned turn = 0;
  for (unsigned route = 1; route < route_count; ++route) {
    for (unsigned i = 0; i <= route; ++i) {
      const unsigned reason = turn++ % route_reason_count;
      end_with(file, IoResult::success(0), static_cast<Route>(route),
               static_cast<RouteReason>(reason));
      aiocb.prepare_read_of(file);
      static_cast<void>(issuer->run(aiocb));
      ++by_route[route];
      ++by_reason[reason];
    }
  }
  EXPECT_TRUE(std::equal(by_route.begin(), by_route.end(), issuer->stats().by_route));
  EXPECT_TRUE(std::equal(by_reason.begin(), by_reason.end(), issuer->stats().by_reason));
}

// --- traces ---

TEST(IssuerTrace, SaysOfEachDeliveryWhatTheRequestWasAndBecame) {
  RecordedTrace trace;
  FakeFile file(42);
  FakeFile nameless;
  AlignedBuffer buffer(16384);
  const iovec segments[] = {{buffer.data(), 512}, {buffer.data(), 1024}};
  TestAiocb aiocb;
  const auto issuer = make_issuer();
  end_with(file, IoResult::success(8192), Route::issuer, RouteReason::extending);
  aiocb.prepare_write_of(file, 4096, buffer.span().first(8192), KiocbFlags::dsync);
  static_cast<void>(issuer->run(aiocb));
  nameless.on_start = [](Kiocb&, IovView) { return IoResult::host_failure(EIO, 512); };
  aiocb.prepare_readv(nameless, std::uint64_t{1} << 40, IovView{segments, 2});
  static_cast<void>(issuer->run(aiocb));

  ASSERT_EQ(trace.events(), (std::vector{TraceEvent::deliver, TraceEvent::deliver}));
  const TraceRecord& write = trace.all()[0];
  EXPECT_EQ(write.request, reinterpret_cast<std::uintptr_t>(static_cast<Kiocb*>(&aiocb)));
  EXPECT_EQ(write.file_id, 42U);
  EXPECT_EQ(write.offset, 4096U);
  EXPECT_EQ(write.length, 8192U);
  EXPECT_EQ(to_string(write.flags), "DSYNC|DIRECT|WRITE|DIO_DEFER");
  EXPECT_EQ(write.result(), IoResult::success(8192));
  EXPECT_EQ(write.route, Route::issuer);
  EXPECT_EQ(write.reason, RouteReason::extending);
  EXPECT_EQ(write.context, Context::task);
  EXPECT_TRUE(write.aio);
  const TraceRecord& read = trace.all()[1];
  EXPECT_EQ(read.file_id, 0U);
  EXPECT_EQ(read.offset, std::uint64_t{1} << 40);
  EXPECT_EQ(read.length, 1536U);
  EXPECT_EQ(to_string(read.flags), "DIRECT|DIO_DEFER");
  EXPECT_EQ(read.result(), IoResult::host_failure(EIO, 512));
  EXPECT_EQ(read.route, Route::submit);
  EXPECT_EQ(read.reason, RouteReason::error);
}

// An append learns its offset when it is written.
TEST(IssuerTrace, GivesAnAppendTheOffsetThatWasUsed) {
  RecordedTrace trace;
  FakeFile file;
  file.on_start = [](Kiocb& kiocb, IovView) {
    kiocb.ki_pos = 65536;
    return IoResult::success(512);
  };
  const auto issuer = make_issuer();
  AlignedBuffer buffer(4096);
  TestAiocb aiocb;
  aiocb.prepare_write_of(file, 0, buffer.span().first(512), KiocbFlags::append);
  static_cast<void>(issuer->run(aiocb));
  ASSERT_EQ(trace.all().size(), 1U);
  EXPECT_EQ(trace.all()[0].offset, 65536U);
}

TEST(IssuerTrace, KeepsTheOrderOfDeliveries) {
  RecordedTrace trace;
  FakeFile file;
  file.on_start = [](Kiocb&, IovView) { return IoResult::success(0); };
  const auto issuer = make_issuer();
  TestAiocb aiocb;
  for (std::uint64_t i = 0; i < 600; ++i) {
    aiocb.prepare_read_of(file, i * 512);
    static_cast<void>(issuer->run(aiocb));
  }
  ASSERT_EQ(trace.all().size(), 600U);
  for (std::uint64_t i = 0; i < 600; ++i)
    ASSERT_EQ(trace.all()[i].offset, i * 512);
}

// The record is complete before the callback takes the request away.
TEST(IssuerTrace, OutlivesARequestThatItsCallbackDestroys) {
  RecordedTrace trace;
  FakeFile file(3);
  const auto issuer = make_issuer();
  auto aiocb = std::make_unique<TestAiocb>();
  aiocb->on_delivered = [&aiocb] { aiocb.reset(); };
  aiocb->prepare_read_of(file, 512);
  issuer->submit(*aiocb);
  complete(*aiocb, IoResult::success(512));
  issuer->poll();
  ASSERT_EQ(trace.all().size(), 1U);
  EXPECT_EQ(trace.all()[0].offset, 512U);
  EXPECT_EQ(trace.all()[0].file_id, 3U);
}

}  // namespace
}  // namespace handback::testing
