// Requests whose issuer did not set DIO_DEFER: their work for a task is a worker's.
#include <handback/worker_pool.h>

#include "dio/dio_test_support.h"
#include "issuer/worker_pool.h"

namespace handback::testing {
namespace {

struct WorkerRig : FakeRig {
  explicit WorkerRig(unsigned threads = 1)
      : pool(value_of(WorkerPool::create({.threads = threads}))) {
    issuer = make_issuer({.workers = pool.get()});
  }
  ~WorkerRig() { issuer.reset(); }

  // As an issuer does that cannot be handed anything.
  void prepare_plain_write(Aiocb& aiocb, std::uint64_t offset, std::span<const std::byte> from,
                           KiocbFlags flags = KiocbFlags::none) {
    aiocb.prepare_write(file, offset, from, flags);
    aiocb.ki_flags &= ~KiocbFlags::dio_defer;
  }

  std::unique_ptr<WorkerPool> pool;
};

TEST(DioWorker, SettlesAnExtendingWriteOfAnIssuerWithoutDefer) {
  WorkerRig rig;
  rig.file.map(0, 4096, 8192, IomapType::unwritten);
  const AlignedBuffer data = random_buffer(4096, 1);
  Aiocb aiocb;
  rig.prepare_plain_write(aiocb, 0, data.span());
  EXPECT_EQ(rig.run(aiocb), IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::worker, RouteReason::no_defer}));
  ASSERT_EQ(rig.file.ended.size(), 1U);
  EXPECT_EQ(rig.file.ended[0].context, Context::worker);
  EXPECT_NE(rig.file.ended[0].thread, std::this_thread::get_id());
  EXPECT_EQ(rig.pool->stats().settled, 1U);
  EXPECT_EQ(rig.issuer->stats().by_route[static_cast<unsigned>(Route::worker)], 1U);
}

TEST(DioWorker, LeavesAPureOverwriteInline) {
  WorkerRig rig;
  rig.file.map(0, 4096, 8192);
  rig.file.size = 4096;
  const AlignedBuffer data = random_buffer(4096, 1);
  Aiocb aiocb;
  rig.prepare_plain_write(aiocb, 0, data.span());
  EXPECT_EQ(rig.run(aiocb), IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::inline_, RouteReason::pure_overwrite}));
  EXPECT_EQ(rig.pool->stats().queued, 0U);
}

TEST(DioWorker, SettlesAnErrorOfAnIssuerWithoutDefer) {
  WorkerRig rig;
  rig.file.map(0, 4096, 8192);
  rig.file.size = 4096;
  const AlignedBuffer data = random_buffer(4096, 1);
  rig.device.hold(true);
  Aiocb aiocb;
  rig.prepare_plain_write(aiocb, 0, data.span());
  rig.issuer->submit(aiocb);
  rig.issuer->poll();
  rig.device.wait_for_held(1);
  rig.device.end_here(0, IoResult::host_failure(EIO));
  rig.issuer->wait();
  EXPECT_EQ(aiocb.result.code(), Errc::io);
  EXPECT_EQ(aiocb.route, Route::worker);
  EXPECT_EQ(rig.file.ended.at(0).context, Context::worker);
}

TEST(DioWorker, IsNeverUsedForAnIssuerThatSetDefer) {
  WorkerRig rig;
  rig.file.map(0, 4096, 8192, IomapType::unwritten);
  const AlignedBuffer data = random_buffer(4096, 1);
  EXPECT_EQ(rig.write(0, data.span()), IoResult::success(4096));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::issuer, RouteReason::extending}));
  EXPECT_EQ(rig.pool->stats().queued, 0U);
}

TEST(DioWorker, TakesRequestsInTheirOrderWhoeverIssuedThem) {
  WorkerRig rig;
  rig.file.map(0, 64 * 4096, 8192, IomapType::unwritten);
  rig.file.ordered = false;
  const AlignedBuffer data = random_buffer(4096, 1);
  // The only worker is busy until all stand in line.
  struct Busy : IssuerWork {
    std::atomic<bool> go{false};
  } first;
  first.run = [](IssuerWork& work) noexcept { static_cast<Busy&>(work).go.wait(false); };
  rig.pool->impl().add(first);
  std::vector<std::unique_ptr<Aiocb>> busy;
  for (unsigned i = 0; i < 32; ++i) {
    busy.push_back(std::make_unique<Aiocb>());
    rig.prepare_plain_write(*busy.back(), i * 4096, data.span());
    rig.issuer->submit(*busy.back());
  }
  rig.issuer->poll();
  std::thread other([&] {
    auto issuer = make_issuer({.workers = rig.pool.get()});
    Aiocb aiocb;
    rig.prepare_plain_write(aiocb, 40 * 4096, data.span());
    issuer->submit(aiocb);
    issuer->poll();
    first.go = true;
    first.go.notify_all();
    while (issuer->in_flight() != 0)
      issuer->wait();
    EXPECT_EQ(aiocb.result, IoResult::success(4096));
  });
  other.join();
  while (rig.issuer->in_flight() != 0)
    rig.issuer->wait();
  ASSERT_EQ(rig.file.ended.size(), 33U);
  EXPECT_EQ(rig.file.ended.back().end.offset, 40U * 4096);
  EXPECT_GE(rig.pool->stats().depth_max, 32U);
}

TEST(DioWorker, IsSharedByIssuersThatNameNone) {
  FakeRig rig;
  rig.file.map(0, 4096, 8192, IomapType::unwritten);
  const AlignedBuffer data = random_buffer(4096, 1);
  Aiocb aiocb;
  aiocb.prepare_write(rig.file, 0, data.span());
  aiocb.ki_flags &= ~KiocbFlags::dio_defer;
  EXPECT_EQ(rig.run(aiocb), IoResult::success(4096));
  EXPECT_EQ(rig.routed.route, Route::worker);
  EXPECT_GE(value_of(WorkerPool::shared())->stats().settled, 1U);
}

TEST(WorkerPool, RefusesAnImpossibleNumberOfThreads) {
  EXPECT_EQ(WorkerPool::create({.threads = 0}).error().code(), Errc::invalid);
  EXPECT_EQ(WorkerPool::create({.threads = 65}).error().code(), Errc::invalid);
}

}  // namespace
}  // namespace handback::testing
