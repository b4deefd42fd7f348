// A record that does not fit before the end of the log area stands at its start, and is found
// there. Fails with the planted bug load_ends_where_the_log_wraps.
#include "volume/volume_test_support.h"

namespace handback::testing {
namespace {

TEST(VolumeLogWrap, RecordsOfAnyLengthAreReplayedAcrossTheEndOfTheArea) {
  VolumeFixture fixture({.size_bytes = volume_size_bytes_min});
  const std::string long_name(200, 'n');
  for (unsigned round = 0; round < 60; ++round) {
    const unsigned count = 20 + round % 7 * 10;
    for (unsigned i = 0; i < count; ++i)
      must(fixture.volume->mkdir(long_name + std::to_string(i)));
    must(fixture.volume->sync(*fixture.issuer));
    fixture.kill();
    fixture.open();
    ASSERT_EQ(must(fixture.volume->list("/")).size(), count) << round;
    for (unsigned i = 0; i < count; ++i)
      must(fixture.volume->rmdir(long_name + std::to_string(i)));
    must(fixture.volume->sync(*fixture.issuer));
  }
}

}  // namespace
}  // namespace handback::testing
