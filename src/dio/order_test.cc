// Requests that overlap stand in line; drains wait for what overlaps, and for nothing else.
#include <thread>

#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

// Bios are held, so that the test decides what is in flight.
class DioOrder : public ::testing::Test {
 protected:
  DioOrder() {
    rig_.file.map(0, 65536, 0);
    rig_.file.size = 65536;
    rig_.device.hold(true);
  }
  void write(TestAiocb& aiocb, std::uint64_t offset, std::size_t length,
             KiocbFlags flags = KiocbFlags::none) {
    aiocb.prepare_write_of(rig_.file, offset, buffer_.span().first(length), flags);
    rig_.issuer->submit(aiocb);
  }
  void read(TestAiocb& aiocb, std::uint64_t offset, std::size_t length) {
    aiocb.prepare_read_of(rig_.file, offset, buffer_.span().first(length));
    rig_.issuer->submit(aiocb);
  }
  void finish() {
    while (rig_.issuer->in_flight() != 0) {
      rig_.device.end_all_in_poll();
      rig_.issuer->poll();
    }
  }

  FakeRig rig_;
  AlignedBuffer buffer_ = random_buffer(65536, 1);
};

TEST_F(DioOrder, LetsWholeBlockWritesAndReadsFlySideBySide) {
  std::array<TestAiocb, 4> aiocbs;
  write(aiocbs[0], 0, 8192);
  write(aiocbs[1], 4096, 8192);
  read(aiocbs[2], 0, 16384);
  read(aiocbs[3], 512, 512);
  EXPECT_EQ(rig_.device.held_count(), 4U);
  EXPECT_EQ(rig_.file.inflight.count(), 4U);
  finish();
}

TEST_F(DioOrder, MakesWritesToPartsOfOneBlockWaitForOneAnother) {
  std::array<TestAiocb, 3> aiocbs;
  write(aiocbs[0], 0, 512);
  write(aiocbs[1], 3584, 512);  // Another part of the same block.
  write(aiocbs[2], 4096, 512);  // The next block.
  EXPECT_EQ(rig_.device.held_count(), 2U);
  rig_.device.end_in_poll(0);
  EXPECT_EQ(rig_.issuer->poll(), 1U);
  EXPECT_EQ(aiocbs[0].delivered, 1U);
  // Its turn came with the settling of the first.
  rig_.issuer->poll();
  EXPECT_EQ(rig_.device.held_count(), 2U);
  EXPECT_EQ(aiocbs[1].delivered, 0U);
  finish();
  for (const TestAiocb& aiocb : aiocbs)
    EXPECT_EQ(aiocb.result, IoResult::success(512));
  EXPECT_EQ(rig_.device.seen, (std::vector<SeenBio>{{BioOp::write, 0, {512}},
                                                    {BioOp::write, 4096, {512}},
                                                    {BioOp::write, 3584, {512}}}));
}

TEST_F(DioOrder, MakesAWriteToAPartOfABlockWaitForAWriteOfTheWholeAndViceVersa) {
  std::array<TestAiocb, 3> aiocbs;
  write(aiocbs[0], 0, 8192);
  write(aiocbs[1], 4608, 512);
  write(aiocbs[2], 4096, 4096);
  EXPECT_EQ(rig_.device.held_count(), 1U);
  rig_.device.end_in_poll();
  while (aiocbs[0].delivered == 0 || rig_.device.held_count() == 0)
    rig_.issuer->poll();
  EXPECT_EQ(rig_.device.held_count(), 1U);
  EXPECT_EQ(rig_.device.seen.back(), (SeenBio{BioOp::write, 4608, {512}}));
  finish();
  EXPECT_EQ(rig_.device.seen.back(), (SeenBio{BioOp::write, 4096, {4096}}));
}

TEST_F(DioOrder, LetsReadsPassAWriteToAPartOfABlock) {
  std::array<TestAiocb, 2> aiocbs;
  write(aiocbs[0], 512, 512);
  read(aiocbs[1], 0, 4096);
  EXPECT_EQ(rig_.device.held_count(), 2U);
  finish();
}

TEST_F(DioOrder, KeepsTheLineInOrder) {
  std::vector<unsigned> order;
  std::array<TestAiocb, 5> aiocbs;
  for (unsigned i = 0; i < 5; ++i) {
    aiocbs[i].on_delivered = [&order, i] { order.push_back(i); };
    write(aiocbs[i], 512ULL * i, 512);
  }
  EXPECT_EQ(rig_.device.held_count(), 1U);
  finish();
  EXPECT_EQ(order, (std::vector<unsigned>{0, 1, 2, 3, 4}));
}

TEST_F(DioOrder, RefusesANowaitThatWouldStandInLine) {
  TestAiocb first;
  TestAiocb hasty;
  write(first, 0, 512);
  write(hasty, 1024, 512, KiocbFlags::nowait);
  EXPECT_EQ(rig_.issuer->poll(), 1U);
  EXPECT_EQ(hasty.delivered, 1U);
  EXPECT_EQ(hasty.result, IoResult::failure(Errc::would_block));
  EXPECT_EQ(hasty.route, Route::submit);
  EXPECT_EQ(hasty.route_reason, RouteReason::error);
  // The file is told, once, and the one in flight still counts.
  ASSERT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_EQ(rig_.file.ended[0].end,
            (DioEnd{.offset = 1024, .bytes = 512, .result = IoResult::failure(Errc::would_block)}));
  EXPECT_EQ(rig_.file.inflight.count(), 1U);
  EXPECT_EQ(rig_.file.begun.size(), 1U);
  finish();
  rig_.device.hold(false);
  TestAiocb again;
  write(again, 1024, 512, KiocbFlags::nowait);
  EXPECT_EQ(rig_.issuer->wait(), 1U);
  EXPECT_EQ(again.result, IoResult::success(512));
}

TEST_F(DioOrder, MapsARequestWhenItsTurnHasComeAndNotBefore) {
  std::array<TestAiocb, 2> aiocbs;
  write(aiocbs[0], 0, 512);
  write(aiocbs[1], 512, 512);
  EXPECT_EQ(rig_.file.begun.size(), 1U);
  // The mapping moves while the second stands in line.
  rig_.file.map(0, 4096, 131072);
  finish();
  EXPECT_EQ(rig_.device.seen.back(), (SeenBio{BioOp::write, 131584, {512}}));
}

TEST_F(DioOrder, DeliversARequestThatStoodInLineAndThenNeededNoIo) {
  rig_.file.size = 131072;
  TestAiocb aiocb;
  {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 65536, 4096);
    read(aiocb, 65536, 4096);  // A hole.
    EXPECT_EQ(rig_.issuer->poll(), 0U);
  }
  EXPECT_EQ(rig_.issuer->wait(), 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(4096));
  EXPECT_EQ(aiocb.route, Route::submit);
}

TEST_F(DioOrder, GivesARequestThatStoodInLineTheErrorOfItsMapping) {
  TestAiocb aiocb;
  {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 0, 4096);
    write(aiocb, 0, 512);
    rig_.file.on_begin = [](const IomapRequest&) { return IoResult::failure(Errc::no_space); };
  }
  EXPECT_EQ(rig_.issuer->wait(), 1U);
  EXPECT_EQ(aiocb.result, IoResult::failure(Errc::no_space));
  EXPECT_EQ(rig_.file.ended.size(), 1U);
}

TEST_F(DioOrder, LetsASynchronousCallerStandInLineBehindItsOwnRequests) {
  rig_.device.hold(false);
  TestAiocb first;
  write(first, 0, 512);  // Ends in the next poll, which only the waiting caller makes.
  EXPECT_EQ(rig_.write_sync_caller(512, buffer_.span().first(512)), IoResult::success(512));
  EXPECT_EQ(rig_.routed, (RouteDecision{Route::waiter, RouteReason::sync_caller}));
  EXPECT_EQ(first.delivered, 0U);
  EXPECT_EQ(rig_.issuer->poll(), 1U);
  EXPECT_EQ(first.result, IoResult::success(512));
}

TEST_F(DioOrder, IsNotKeptForAFileThatNeedsNone) {
  rig_.file.ordered = false;
  std::array<TestAiocb, 2> aiocbs;
  write(aiocbs[0], 0, 512);
  write(aiocbs[1], 0, 512, KiocbFlags::nowait);
  EXPECT_EQ(rig_.device.held_count(), 2U);
  EXPECT_EQ(rig_.file.inflight.count(), 0U);
  finish();
}

// --- drains ---

using DioDrain = DioOrder;

TEST_F(DioDrain, OfARangeWithNothingInFlightStartsAtOnce) {
  TestAiocb aiocb;
  write(aiocb, 0, 4096);
  {
    const DioInflight::Drain beside(rig_.file.inflight, *rig_.issuer, 4096, 4096);
    EXPECT_EQ(rig_.file.inflight.count(), 2U);
    EXPECT_EQ(rig_.device.held_count(), 1U);
  }
  EXPECT_EQ(rig_.file.inflight.count(), 1U);
  finish();
}

// The kernel's deadlock: a task drains a file while the completion that would end the drain is
// handed back to that very task.
TEST_F(DioDrain, SettlesTheDrainersOwnHandedBackRequestsAndDeliversNothing) {
  rig_.device.hold(false);
  rig_.file.size = 0;
  TestAiocb extending;
  TestAiocb reading;
  write(extending, 0, 4096);
  read(reading, 0, 512);
  {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 0, 65536);
    EXPECT_EQ(rig_.file.inflight.count(), 1U);
    EXPECT_EQ(rig_.file.ended.size(), 2U);
    EXPECT_EQ(rig_.file.ended.back().context, Context::issuer);
    EXPECT_EQ(extending.delivered, 0U);
    EXPECT_EQ(reading.delivered, 0U);
    EXPECT_EQ(rig_.issuer->in_flight(), 2U);
  }
  EXPECT_EQ(rig_.issuer->poll(), 2U);
  EXPECT_EQ(extending.result, IoResult::success(4096));
}

TEST_F(DioDrain, FromWithinACallbackEnds) {
  rig_.device.hold(false);
  rig_.file.size = 0;
  TestAiocb first;
  TestAiocb second;
  bool drained = false;
  first.on_delivered = [&] {
    write(second, 4096, 4096);
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 0, 65536);
    drained = true;
    EXPECT_EQ(second.delivered, 0U);
  };
  write(first, 0, 4096);
  EXPECT_EQ(rig_.issuer->wait(), 1U);
  EXPECT_TRUE(drained);
  EXPECT_EQ(rig_.issuer->poll(), 1U);
  EXPECT_EQ(second.delivered, 1U);
}

TEST_F(DioDrain, WaitsForContinuationsOfItsOwnRequests) {
  rig_.device.hold(false);
  rig_.file.size = 0;
  struct End : IssuerWork {
    Kiocb* kiocb = nullptr;
  } end;
  end.run = [](IssuerWork& work) noexcept {
    dio_end_pending(*static_cast<End&>(work).kiocb, IoResult::success(4096));
  };
  rig_.file.on_end_io = [&](Kiocb& kiocb, const DioEnd&) -> Outcome {
    end.kiocb = &kiocb;
    kiocb.issuer->post(end);
    return NotFinal{};
  };
  TestAiocb aiocb;
  write(aiocb, 0, 4096);
  {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 0, 4096);
    EXPECT_NE(end.kiocb, nullptr);
  }
  EXPECT_EQ(rig_.issuer->poll(), 1U);
}

// A request counts until it is settled; the sync that may follow is not waited for.
TEST_F(DioDrain, DoesNotWaitForASyncThatFollows) {
  rig_.device.hold(false);
  rig_.file.size = 0;
  Kiocb* syncing = nullptr;
  rig_.file.on_write_sync = [&](Kiocb& kiocb, const DioEnd&) -> Outcome {
    syncing = &kiocb;
    return NotFinal{};
  };
  TestAiocb aiocb;
  write(aiocb, 0, 4096, KiocbFlags::sync);
  {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 0, 65536);
    EXPECT_NE(syncing, nullptr);
  }
  EXPECT_EQ(rig_.issuer->poll(), 0U);
  dio_end_pending(*syncing, IoResult::success(4096));
  EXPECT_EQ(rig_.issuer->poll(), 1U);
}

TEST_F(DioDrain, KeepsNewRequestsOutUntilItEnds) {
  rig_.device.hold(false);
  std::array<TestAiocb, 3> aiocbs;
  TestAiocb beside;
  {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 4096, 4096);
    read(aiocbs[0], 4096, 512);
    write(aiocbs[1], 0, 8192);
    write(aiocbs[2], 4608, 512, KiocbFlags::nowait);
    write(beside, 8192, 512);
    while (beside.delivered == 0 || aiocbs[2].delivered == 0)
      rig_.issuer->poll();
    EXPECT_EQ(aiocbs[2].result, IoResult::failure(Errc::would_block));
    EXPECT_EQ(aiocbs[0].delivered, 0U);
    EXPECT_EQ(aiocbs[1].delivered, 0U);
    EXPECT_EQ(rig_.device.seen.size(), 1U);
  }
  finish();
  EXPECT_EQ(aiocbs[0].result, IoResult::success(512));
  EXPECT_EQ(aiocbs[1].result, IoResult::success(8192));
}

TEST_F(DioDrain, OfEverythingReachesToTheLargestOffset) {
  rig_.device.hold(false);
  TestAiocb aiocb;
  {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 4096, ~std::uint64_t{0});
    read(aiocb, (std::uint64_t{1} << 63) - 512, 512);
    EXPECT_EQ(rig_.issuer->poll(), 0U);
    EXPECT_EQ(aiocb.delivered, 0U);
  }
  EXPECT_EQ(rig_.issuer->wait(), 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(0));
}

TEST_F(DioDrain, SleepsUntilAnotherThreadsRequestIsSettled) {
  // This thread drains while the other's write is at the device; the test ends the write from a
  // third side.
  std::atomic<bool> draining{false};
  std::thread other([&] {
    const auto issuer = make_issuer();
    TestAiocb aiocb;
    aiocb.prepare_write_of(rig_.file, 0, buffer_.span().first(4096));
    issuer->submit(aiocb);
    draining.wait(false);
    rig_.device.end_in_poll();
    EXPECT_EQ(issuer->wait(), 1U);
    EXPECT_EQ(aiocb.result, IoResult::success(4096));
  });
  rig_.device.wait_for_held(1);
  draining.store(true);
  draining.notify_one();
  {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 0, 4096);
    EXPECT_EQ(rig_.file.inflight.count(), 1U);
    EXPECT_EQ(rig_.file.ended.size(), 1U);
  }
  other.join();
}

TEST_F(DioDrain, OfTwoThreadsComeOneAfterTheOther) {
  std::atomic<unsigned> inside{0};
  std::atomic<unsigned> together{0};
  const auto drain_often = [&](Issuer& issuer) {
    for (int round = 0; round < 500; ++round) {
      const DioInflight::Drain drain(rig_.file.inflight, issuer, 0, 4096);
      if (inside.fetch_add(1) != 0) together.fetch_add(1);
      inside.fetch_sub(1);
    }
  };
  std::thread other([&] {
    const auto issuer = make_issuer();
    drain_often(*issuer);
  });
  drain_often(*rig_.issuer);
  other.join();
  EXPECT_EQ(together.load(), 0U);
  EXPECT_EQ(rig_.file.inflight.count(), 0U);
}

using DioDrainDeathTest = DioDrain;

TEST_F(DioDrainDeathTest, IsNotForContextsThatMayNotWait) {
  rig_.device.hold(false);
  rig_.file.size = 0;
  rig_.file.on_end_io = [&](Kiocb&, const DioEnd& end) -> Outcome {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 0, 4096);
    return end.result;
  };
  TestAiocb aiocb;
  write(aiocb, 0, 4096);
  EXPECT_DEATH(rig_.issuer->poll(), "only task and worker context wait for I/O");
  rig_.file.on_end_io = nullptr;
  rig_.issuer->poll();
}

}  // namespace
}  // namespace handback::testing
