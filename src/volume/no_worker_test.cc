// No write class needs a worker: every one of them, by an issuer with DIO_DEFER, counted.
#include <handback/worker_pool.h>

#include "block/fault_device.h"
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

struct NoWorker : ::testing::TestWithParam<bool> {};

TEST_P(NoWorker, SettlesAnyWriteClassOfAnIssuerWithDefer) {
  const bool fua = GetParam();
  auto pool = must(WorkerPool::create({.threads = 1}));
  auto memory = make_memory_device({.volatile_cache = true, .fua = fua});
  auto device = std::make_unique<FaultDevice>(*memory);
  auto issuer = must(Issuer::create({.workers = pool.get()}));
  must(Volume::format(*issuer, *device));
  auto volume = must(Volume::open(*issuer, *device));
  auto file = must(volume->open_file(*issuer, "/f", {.create = true}));
  const AlignedBuffer data = pattern(16384, 1);

  // The reason each class must have, in the order of the writes.
  std::vector<std::pair<std::string, RouteReason>> routes;
  const auto write = [&](const char* what, std::uint64_t offset, std::size_t length,
                         KiocbFlags flags = KiocbFlags::none) {
    Aiocb aiocb;
    aiocb.prepare_write(*file, offset, data.span().first(length), flags);
    EXPECT_EQ(issuer->run(aiocb), IoResult::success(static_cast<std::uint32_t>(length))) << what;
    EXPECT_NE(aiocb.route, Route::worker) << what;
    routes.emplace_back(what, aiocb.route_reason);
  };
  write("extension", 0, 8192);
  write("straddle of the end", 4096, 8192);
  write("overwrite", 0, 4096);
  must(file->preallocate(65536, 16384));
  must(file->truncate(*issuer, 131072));
  write("unwritten", 65536, 4096);
  write("hole", 32768, 4096);
  write("append", 0, 4096, KiocbFlags::append);
  write("dsync extension", 262144, 4096, KiocbFlags::dsync);
  write("dsync overwrite", 262144, 4096, KiocbFlags::dsync);
  write("sync overwrite", 262144, 4096, KiocbFlags::sync);
  const std::vector<std::pair<std::string, RouteReason>> expected = {
      {"extension", RouteReason::extending},
      {"straddle of the end", RouteReason::extending},
      {"overwrite", RouteReason::pure_overwrite},
      {"unwritten", RouteReason::unwritten},
      {"hole", RouteReason::new_extent},
      {"append", RouteReason::extending},
      {"dsync extension", RouteReason::extending},
      {"dsync overwrite", fua ? RouteReason::pure_overwrite : RouteReason::dsync},
      {"sync overwrite", RouteReason::dsync},
  };
  EXPECT_EQ(routes, expected);

  device->fail(BioOp::write, 1, IoResult::host_failure(5));
  Aiocb failing;
  failing.prepare_write(*file, 0, data.span().first(4096));
  EXPECT_EQ(issuer->run(failing), IoResult::host_failure(5));
  EXPECT_EQ(failing.route, Route::issuer);
  EXPECT_EQ(failing.route_reason, RouteReason::error);

  EXPECT_EQ(issuer->stats().by_route[static_cast<unsigned>(Route::worker)], 0U);
  EXPECT_EQ(pool->stats().queued, 0U);
  file.reset();
  must(volume->close(*issuer));
  issuer.reset();
}

INSTANTIATE_TEST_SUITE_P(Volume, NoWorker, ::testing::Bool(),
                         [](const ::testing::TestParamInfo<bool>& tested) {
                           return std::string(tested.param ? "WithFua" : "WithoutFua");
                         });

}  // namespace
}  // namespace handback::testing
