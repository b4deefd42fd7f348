// That each rule is enforced is shown for every device by device_conformance.h; here: which rule
// comes first, and what a sound geometry is.
#include "block/bio_check.h"

#include <gtest/gtest.h>

#include <limits>

namespace handback {
namespace {

Geometry geometry_of_4096() {
  Geometry geometry;
  geometry.size_bytes = 1U << 20;
  geometry.logical_block_bytes = 4096;
  geometry.memory_alignment_bytes = 512;
  geometry.transfer_bytes_max = 64U << 10;
  return geometry;
}

Bio bio_of(BioOp op, std::uint64_t addr, std::uintptr_t data, std::size_t bytes) {
  Bio bio;
  bio.op = op;
  bio.addr = addr;
  bio.add_segment(reinterpret_cast<void*>(data), bytes);
  return bio;
}

TEST(BioCheck, TheFirstRuleThatIsBrokenDecides) {
  Geometry geometry = geometry_of_4096();
  geometry.read_only = true;
  geometry.volatile_cache = true;
  // Breaks every rule; then one after the other is kept.
  Bio bio = bio_of(BioOp::write, (1U << 20) + 1, 1, (64U << 10) + 1);
  bio.fua = true;
  EXPECT_EQ(check_bio(geometry, bio), IoResult::failure(Errc::invalid));
  bio.fua = false;
  EXPECT_EQ(check_bio(geometry, bio), IoResult::failure(Errc::invalid, IoDetail::offset_unaligned));
  bio.addr = 1U << 20;
  EXPECT_EQ(check_bio(geometry, bio), IoResult::failure(Errc::invalid, IoDetail::length_unaligned));
  bio.segments[0].iov_len = bio.length = (64U << 10) + 4096;
  EXPECT_EQ(check_bio(geometry, bio), IoResult::failure(Errc::invalid, IoDetail::buffer_unaligned));
  bio.segments[0].iov_base = reinterpret_cast<void*>(512);
  EXPECT_EQ(check_bio(geometry, bio),
            IoResult::failure(Errc::invalid, IoDetail::length_beyond_limit));
  bio.segments[0].iov_len = bio.length = 4096;
  EXPECT_EQ(check_bio(geometry, bio), IoResult::failure(Errc::read_only));
  geometry.read_only = false;
  EXPECT_EQ(check_bio(geometry, bio),
            IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit));
  bio.addr = (1U << 20) - 4096;
  EXPECT_EQ(check_bio(geometry, bio), IoResult::success(0));
}

TEST(BioCheck, FuaNeedsTheDeviceToHaveItOrNoCache) {
  Geometry geometry = geometry_of_4096();
  Bio bio = bio_of(BioOp::write, 0, 4096, 4096);
  bio.fua = true;
  for (const bool cache : {false, true}) {
    for (const bool fua : {false, true}) {
      geometry.volatile_cache = cache;
      geometry.fua = fua;
      EXPECT_EQ(check_bio(geometry, bio),
                cache && !fua ? IoResult::failure(Errc::invalid) : IoResult::success(0));
    }
  }
}

TEST(BioCheck, SegmentLengthsThatOverflowTheirSumAreInvalid) {
  Bio bio = bio_of(BioOp::write, 0, 4096, 4096);
  bio.segment_count = 2;
  bio.segments[0].iov_len = std::numeric_limits<std::size_t>::max() - 4095;
  bio.segments[1] = iovec{reinterpret_cast<void*>(4096), 8192};
  EXPECT_EQ(check_bio(geometry_of_4096(), bio), IoResult::failure(Errc::invalid));
  bio.segment_count = bio_segments_max + 1;
  EXPECT_EQ(check_bio(geometry_of_4096(), bio), IoResult::failure(Errc::invalid));
}

TEST(BioCheck, TellsSoundGeometriesFromOthers) {
  EXPECT_TRUE(is_sound(geometry_of_4096()));
  Geometry geometry = geometry_of_4096();
  geometry.size_bytes = 0;
  EXPECT_FALSE(is_sound(geometry));
  geometry.size_bytes = 4096 + 512;
  EXPECT_FALSE(is_sound(geometry));
  geometry = geometry_of_4096();
  geometry.logical_block_bytes = 1024;
  EXPECT_FALSE(is_sound(geometry));
  geometry = geometry_of_4096();
  geometry.memory_alignment_bytes = 0;
  EXPECT_FALSE(is_sound(geometry));
  geometry.memory_alignment_bytes = 768;
  EXPECT_FALSE(is_sound(geometry));
  geometry = geometry_of_4096();
  geometry.transfer_bytes_max = 0;
  EXPECT_FALSE(is_sound(geometry));
  geometry.transfer_bytes_max = 6144;
  EXPECT_FALSE(is_sound(geometry));
}

}  // namespace
}  // namespace handback
