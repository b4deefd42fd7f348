// What a handler declares decides where it runs, and holds it to its word while it runs.
#include <handback/bio_group.h>
#include <handback/worker_pool.h>

#include <new>

#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

struct HandlerRig : FakeRig {
  explicit HandlerRig(const HandlerContract& contract, const IssuerOptions& options = {})
      : FakeRig(FakeDevice::default_geometry(), 4096, contract),
        pool(value_of(WorkerPool::create({.threads = 1}))) {
    IssuerOptions with_pool = options;
    with_pool.workers = pool.get();
    issuer = make_issuer(with_pool);
    file.map(0, 4096, 8192);
    file.map(4096, 4096, 12288, IomapType::unwritten);
    file.size = 4096;
  }
  ~HandlerRig() { issuer.reset(); }

  [[nodiscard]] Context last_context() const { return file.ended.back().context; }

  std::unique_ptr<WorkerPool> pool;
  AlignedBuffer data = random_buffer(4096, 1);
};

constexpr RouteDecision needs_a_task{Route::issuer, RouteReason::handler_needs};
constexpr RouteDecision waits{Route::worker, RouteReason::handler_waits};

TEST(DioHandler, IsNotRunInDeviceContextIfItLocksAMutex) {
  HandlerRig rig({.name = "locks", .pure = Acts::lock});
  EXPECT_EQ(rig.write(0, rig.data.span()), IoResult::success(4096));
  EXPECT_EQ(rig.routed, needs_a_task);
  EXPECT_EQ(rig.last_context(), Context::issuer);
  EXPECT_EQ(rig.read(0, rig.data.span()), IoResult::success(4096));
  EXPECT_EQ(rig.routed, needs_a_task);
  EXPECT_EQ(rig.last_context(), Context::issuer);
}

TEST(DioHandler, RunsOnAWorkerIfItWaits) {
  HandlerRig rig({.name = "waits", .task = acts_of_handed_back_work | Acts::wait});
  AlignedBuffer state(512);
  rig.file.on_end_io = [&](Kiocb& kiocb, const DioEnd& end) -> Outcome {
    // What the declaration is for.
    BioGroup reading(*kiocb.issuer, rig.device);
    reading.read(0, state.span());
    const IoResult read = reading.run_and_wait();
    return read.ok() ? end.result : read;
  };
  rig.device.bytes[5] = std::byte{42};
  EXPECT_EQ(rig.write(4096, rig.data.span()), IoResult::success(4096));
  EXPECT_EQ(rig.routed, waits);
  EXPECT_EQ(rig.last_context(), Context::worker);
  EXPECT_EQ(state.data()[5], std::byte{42});
  EXPECT_EQ(rig.pool->stats().settled, 1U);
}

TEST(DioHandler, RunsInlineWhereItDeclaredNothingForThatCase) {
  HandlerRig rig({.name = "waits", .task = acts_of_handed_back_work | Acts::wait});
  EXPECT_EQ(rig.write(0, rig.data.span()), IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::inline_, RouteReason::pure_overwrite}));
  EXPECT_EQ(rig.last_context(), Context::device);
}

// end_io submits a continuation and says "pending"; that ends on the issuer, and write_sync, which
// may wait, is the worker's again.
TEST(DioHandler, GoesBackToAWorkerAfterAContinuation) {
  HandlerRig rig({.name = "waits", .task = acts_of_handed_back_work | Acts::wait});
  struct Continuation {
    Kiocb* kiocb;
    BioGroup reading;
    AlignedBuffer state{512};
  };
  rig.file.on_end_io = [&](Kiocb& kiocb, const DioEnd&) -> Outcome {
    auto* more = new Continuation{&kiocb, BioGroup(*kiocb.issuer, rig.device)};
    more->reading.read(0, more->state.span());
    more->reading.start(
        [](BioGroup&, void* owner) noexcept {
          auto* ended = static_cast<Continuation*>(owner);
          Kiocb& request = *ended->kiocb;
          delete ended;
          dio_end_pending(request, IoResult::success(4096));
        },
        more);
    return NotFinal{};
  };
  EXPECT_EQ(rig.write(4096, rig.data.span(), KiocbFlags::dsync), IoResult::success(4096));
  EXPECT_EQ(rig.routed, waits);
  ASSERT_EQ(rig.file.synced.size(), 1U);
  EXPECT_EQ(rig.file.synced[0].context, Context::worker);
}

// A request that stood in line is started as handed-back work, and this one ends there and then.
TEST(DioHandler, GoesToAWorkerIfItsRequestEndsWhereItMayNotWait) {
  HandlerRig rig({.name = "waits", .pure = Acts::wait});
  rig.file.size = 64 * 4096;
  Aiocb aiocb;
  aiocb.prepare_read(rig.file, 32 * 4096, rig.data.span());
  {
    const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 32 * 4096, 4096);
    rig.issuer->submit(aiocb);
    EXPECT_EQ(rig.file.ended.size(), 0U);
  }
  while (rig.issuer->in_flight() != 0)
    rig.issuer->wait();
  EXPECT_EQ(aiocb.result, IoResult::success(4096));
  EXPECT_EQ((RouteDecision{aiocb.route, aiocb.route_reason}), waits);
  EXPECT_EQ(rig.last_context(), Context::worker);
}

TEST(DioHandler, MayWaitWhereItsCallerWaits) {
  HandlerRig rig({.name = "waits", .task = acts_of_handed_back_work | Acts::wait});
  rig.file.on_end_io = [&](Kiocb& kiocb, const DioEnd& end) -> Outcome {
    BioGroup flushing(*kiocb.issuer, rig.device);
    flushing.flush();
    return flushing.run_and_wait().ok() ? end.result : flushing.result();
  };
  EXPECT_EQ(rig.write_sync_caller(4096, rig.data.span()), IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::waiter, RouteReason::sync_caller}));
  EXPECT_EQ(rig.last_context(), Context::task);
}

TEST(DioHandler, IsHandedBackWhateverItDeclaredIfTheIssuerAskedForIt) {
  HandlerRig rig({.name = "fake file"}, {.settle_in_task = true});
  EXPECT_EQ(rig.write(0, rig.data.span()), IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::issuer, RouteReason::asked}));
  EXPECT_EQ(rig.read(0, rig.data.span()), IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::issuer, RouteReason::asked}));
  Aiocb aiocb;
  aiocb.prepare_write(rig.file, 0, rig.data.span());
  aiocb.ki_flags &= ~KiocbFlags::dio_defer;
  EXPECT_EQ(rig.run(aiocb), IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::worker, RouteReason::no_defer}));
}

// --- held to its word ---

class DioHandlerDeathTest : public ThreadedDeathTest {};

// Writes through a file whose end_io is `end_io`.
template <typename EndIo>
void write_with(const HandlerContract& contract, std::uint64_t offset, EndIo end_io) {
  HandlerRig rig(contract);
  rig.file.on_end_io = [&](Kiocb& kiocb, const DioEnd& end) -> Outcome {
    end_io(rig, kiocb);
    return end.result;
  };
  static_cast<void>(rig.write(offset, rig.data.span()));
}

TEST_F(DioHandlerDeathTest, SubmitsNothingItDidNotDeclare) {
  EXPECT_DEATH(write_with({.name = "only locks", .task = Acts::lock}, 4096,
                          [](HandlerRig& rig, Kiocb& kiocb) {
                            BioGroup reading(*kiocb.issuer, rig.device);
                            reading.flush();
                            reading.start([](BioGroup&, void*) noexcept {}, nullptr);
                          }),
               "contract violated: a handler does nothing that it did not declare\n"
               "  what:      submit\n"
               "  context:   issuer, which grants lock\\|submit\\|allocate\n"
               "  handler:   only locks, which declares lock\n"
               "  request:   ino=0 offset=4096 length=4096 flags=DIRECT\\|WRITE\\|DIO_DEFER\n");
}

TEST_F(DioHandlerDeathTest, WaitsForNothingInIssuerContext) {
  EXPECT_DEATH(write_with({.name = "waits after all"}, 4096,
                          [](HandlerRig& rig, Kiocb& kiocb) {
                            BioGroup reading(*kiocb.issuer, rig.device);
                            reading.flush();
                            static_cast<void>(reading.run_and_wait());
                          }),
               "contract violated: only task and worker context wait for I/O");
}

TEST_F(DioHandlerDeathTest, LocksNothingInDeviceContext) {
  EXPECT_DEATH(write_with({.name = "locks after all"}, 0,
                          [](HandlerRig&, Kiocb&) {
                            static RankedMutex mutex;
                            const std::lock_guard guard(mutex);
                          }),
               "contract violated: device context locks no mutex\n(.*\n)*"
               "  handler:   locks after all, which declares nothing\n"
               "  request:   ino=0 offset=0 length=4096");
}

TEST_F(DioHandlerDeathTest, DrainsNothing) {
  EXPECT_DEATH(write_with({.name = "drains", .task = acts_of_handed_back_work | Acts::wait}, 4096,
                          [](HandlerRig& rig, Kiocb&) {
                            auto issuer = make_issuer();
                            const DioInflight::Drain drain(rig.file.inflight, *issuer, 0, 4096);
                          }),
               "contract violated: a handler waits for no range of a file");
}

TEST_F(DioHandlerDeathTest, NeverDeclaresToCallTheUser) {
  EXPECT_DEATH(HandlerRig({.name = "calls", .task = Acts::user_code}),
               "a handler never calls the user");
}

TEST_F(DioHandlerDeathTest, LeavesDeliveryToTaskContext) {
  EXPECT_DEATH(
      {
        HandlerRig rig({.name = "fake file"});
        TestAiocb aiocb;
        aiocb.prepare_write_of(rig.file, 0, rig.data.span());
        rig.issuer->submit(aiocb);
        const ContextScope scope(Context::worker);
        rig.issuer->poll();
      },
      "contract violated: the user's code runs in task context alone");
}

// Two drains of one thread could meet two of another in the other order.
TEST_F(DioHandlerDeathTest, LetsAThreadHoldOneDrainedRangeAtATime) {
  EXPECT_DEATH(
      {
        HandlerRig rig({.name = "fake file"});
        const DioInflight::Drain first(rig.file.inflight, *rig.issuer, 0, 4096);
        const DioInflight::Drain second(rig.file.inflight, *rig.issuer, 4096, 4096);
      },
      "locks are taken in the order of their ranks, each rank once\n"
      "  what:      takes range while holding range\n");
}

TEST_F(DioHandlerDeathTest, LetsNoMutexBeHeldOverADrain) {
  EXPECT_DEATH(
      {
        HandlerRig rig({.name = "fake file"});
        RankedMutex mutex;
        const std::lock_guard guard(mutex);
        const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096);
      },
      "no lock but a drained range is held over a wait for I/O\n"
      "  what:      waits while holding handler\n");
}

}  // namespace
}  // namespace handback::testing
