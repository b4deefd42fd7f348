// A time that was set stays, however the volume is opened again.
// Fails with the planted bugs mtime_lost_in_the_log and snapshot_forgets_mtime.
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

constexpr std::int64_t long_ago_ns = 1'234'567'890'123'456'789;

TEST(VolumeTimes, ThatWereSetAreThereAfterReplayAndAfterACheckpoint) {
  for (const bool clean : {false, true}) {
    VolumeFixture fixture;
    auto file = fixture.create("/a");
    must(file->set_mtime(long_ago_ns));
    fixture.kill_files(file, clean);
    EXPECT_EQ(must(fixture.volume->stat("/a")).mtime_ns, long_ago_ns) << clean;
  }
}

}  // namespace
}  // namespace handback::testing
