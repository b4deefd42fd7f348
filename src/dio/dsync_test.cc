// What a dsync write asks of device and file, counted on the device.
#include "block/fault_device.h"
#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

Geometry with_cache(bool volatile_cache, bool fua) {
  Geometry geometry = FakeDevice::default_geometry();
  geometry.volatile_cache = volatile_cache;
  geometry.fua = fua;
  return geometry;
}

struct DsyncCase {
  const char* name;
  bool volatile_cache;
  bool fua;
  KiocbFlags flags;
  FakeBlock block;
  // Expected:
  bool fua_write;
  bool write_sync;
  RouteDecision routed;
};

constexpr FakeBlock written{.type = IomapType::mapped};
constexpr FakeBlock dirty{.type = IomapType::mapped, .dirty = true};
constexpr FakeBlock unwritten{.type = IomapType::unwritten};
constexpr FakeBlock new_extent{.type = IomapType::mapped, .new_extent = true};
constexpr FakeBlock shared{.type = IomapType::mapped, .shared = true};

constexpr RouteDecision for_dsync{Route::issuer, RouteReason::dsync};
constexpr RouteDecision for_unwritten{Route::issuer, RouteReason::unwritten};
constexpr RouteDecision for_new{Route::issuer, RouteReason::new_extent};
constexpr RouteDecision for_shared{Route::issuer, RouteReason::shared};

const DsyncCase dsync_cases[] = {
    {"PlainWrite", true, true, KiocbFlags::none, written, false, false, overwrite_inline},
    {"WriteThroughCache", false, false, KiocbFlags::dsync, written, false, false, overwrite_inline},
    {"WriteThroughCacheWithFua", false, true, KiocbFlags::dsync, written, false, false,
     overwrite_inline},
    {"CacheWithFua", true, true, KiocbFlags::dsync, written, true, false, overwrite_inline},
    {"CacheWithoutFua", true, false, KiocbFlags::dsync, written, false, true, for_dsync},
    {"UnwrittenOnFua", true, true, KiocbFlags::dsync, unwritten, false, true, for_unwritten},
    {"UnwrittenOnWriteThrough", false, false, KiocbFlags::dsync, unwritten, false, true,
     for_unwritten},
    {"NewOnFua", true, true, KiocbFlags::dsync, new_extent, false, true, for_new},
    {"SharedOnFua", true, true, KiocbFlags::dsync, shared, false, true, for_shared},
    {"DirtyOnFua", true, true, KiocbFlags::dsync, dirty, false, true, for_dsync},
    {"DirtyOnWriteThrough", false, false, KiocbFlags::dsync, dirty, false, true, for_dsync},
    {"DirtyPlainWrite", true, true, KiocbFlags::none, dirty, false, false, overwrite_inline},
    {"SyncOnFua", true, true, KiocbFlags::sync, written, false, true, for_dsync},
    {"SyncOnWriteThrough", false, false, KiocbFlags::sync, written, false, true, for_dsync},
    {"SyncAndDsyncOnFua", true, true, KiocbFlags::sync | KiocbFlags::dsync, written, false, true,
     for_dsync},
};

class DioDsync : public ::testing::TestWithParam<DsyncCase> {};

TEST_P(DioDsync, AsksForWhatIsNeededAndNoMore) {
  const DsyncCase& c = GetParam();
  FakeDevice device(with_cache(c.volatile_cache, c.fua));
  FaultDevice counting(device);
  DioRig rig(counting);
  rig.file.map(0, 4096, 8192, c.block);
  rig.file.size = 4096;
  const AlignedBuffer data = random_buffer(4096, 1);
  EXPECT_EQ(rig.write(0, data.span(), c.flags), IoResult::success(4096));
  EXPECT_EQ(rig.routed, c.routed);
  EXPECT_EQ(counting.counts(), (FaultCounts{.writes = 1, .fua_writes = c.fua_write ? 1U : 0U}));
  ASSERT_EQ(rig.file.ended.size(), 1U);
  EXPECT_EQ(rig.file.ended[0].end.needs_sync, c.write_sync);
  ASSERT_EQ(rig.file.synced.size(), c.write_sync ? 1U : 0U);
  if (c.write_sync) {
    // It is told what end_io was told, and what came of that.
    EXPECT_EQ(rig.file.synced[0].end, rig.file.ended[0].end);
    EXPECT_EQ(rig.file.synced[0].context, Context::issuer);
  }
}

INSTANTIATE_TEST_SUITE_P(Dio, DioDsync, ::testing::ValuesIn(dsync_cases),
                         [](const ::testing::TestParamInfo<DsyncCase>& of) {
                           return of.param.name;
                         });

TEST(DioDsyncSplit, MarksEveryBioOfAnOverwriteFua) {
  Geometry geometry = with_cache(true, true);
  geometry.transfer_bytes_max = 1024;
  FakeDevice device(geometry);
  FaultDevice counting(device);
  DioRig rig(counting);
  rig.file.map(0, 8192, 0);
  rig.file.size = 8192;
  const AlignedBuffer data = random_buffer(4096, 2);
  EXPECT_EQ(rig.write(0, data.span(), KiocbFlags::dsync), IoResult::success(4096));
  EXPECT_EQ(counting.counts(), (FaultCounts{.writes = 4, .fua_writes = 4}));
  EXPECT_TRUE(rig.file.synced.empty());
}

// One mapping can be made durable by itself, the other cannot: the sync that follows covers both.
TEST(DioDsyncSplit, SyncsOnceIfAnyMappingNeedsIt) {
  FakeDevice device(with_cache(true, true));
  DioRig rig(device);
  rig.file.map(0, 4096, 0);
  rig.file.map(4096, 4096, 65536, IomapType::unwritten);
  rig.file.map(8192, 4096, 32768);
  rig.file.size = 12288;
  const AlignedBuffer data = random_buffer(12288, 3);
  EXPECT_EQ(rig.write(0, data.span(), KiocbFlags::dsync), IoResult::success(12288));
  EXPECT_EQ(device.seen, (std::vector<SeenBio>{{BioOp::write, 0, {4096}, true},
                                               {BioOp::write, 65536, {4096}, false},
                                               {BioOp::write, 32768, {4096}, true}}));
  EXPECT_EQ(rig.file.synced.size(), 1U);
}

TEST(DioDsyncError, OfTheDataLeavesNothingToSync) {
  FakeDevice device(with_cache(true, false));
  FaultDevice faulty(device);
  DioRig rig(faulty);
  rig.file.map(0, 4096, 0);
  rig.file.size = 4096;
  faulty.fail(BioOp::write, 1, IoResult::host_failure(EIO));
  const AlignedBuffer data(4096);
  EXPECT_EQ(rig.write(0, data.span(), KiocbFlags::dsync), IoResult::host_failure(EIO));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::issuer, RouteReason::error}));
  EXPECT_EQ(rig.file.ended.size(), 1U);
  EXPECT_TRUE(rig.file.synced.empty());
}

TEST(DioDsyncError, OfEndIoLeavesNothingToSync) {
  FakeDevice device(with_cache(true, false));
  DioRig rig(device);
  rig.file.map(0, 4096, 0);
  rig.file.size = 4096;
  rig.file.on_end_io = [](Kiocb&, const DioEnd&) { return IoResult::failure(Errc::poisoned); };
  const AlignedBuffer data(4096);
  EXPECT_EQ(rig.write(0, data.span(), KiocbFlags::dsync), IoResult::failure(Errc::poisoned));
  EXPECT_TRUE(rig.file.synced.empty());
}

TEST(DioDsyncError, OfTheSyncReplacesTheResult) {
  FakeDevice device(with_cache(true, false));
  DioRig rig(device);
  rig.file.map(0, 4096, 0);
  rig.file.size = 4096;
  rig.file.on_write_sync = [](Kiocb&, const DioEnd&) { return IoResult::failure(Errc::poisoned); };
  const AlignedBuffer data(4096);
  EXPECT_EQ(rig.write(0, data.span(), KiocbFlags::dsync), IoResult::failure(Errc::poisoned));
  EXPECT_EQ(rig.routed, for_dsync);
}

}  // namespace
}  // namespace handback::testing
