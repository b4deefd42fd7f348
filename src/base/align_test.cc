#include "base/align.h"

#include <gtest/gtest.h>

#include <limits>

namespace handback::testing {
namespace {

TEST(Align, RoundsDownAndUpToTheNearestMultiple) {
  for (std::uint64_t unit = 1; unit <= 65536; unit *= 2) {
    for (const std::uint64_t multiple :
         {std::uint64_t{0}, unit, 7 * unit, std::uint64_t{1} << 62}) {
      EXPECT_EQ(round_down(multiple, unit), multiple);
      EXPECT_EQ(round_up(multiple, unit), multiple);
      EXPECT_TRUE(is_aligned(multiple, unit));
      if (unit == 1) continue;
      for (const std::uint64_t rest : {std::uint64_t{1}, unit / 2, unit - 1}) {
        EXPECT_EQ(round_down(multiple + rest, unit), multiple) << rest;
        EXPECT_EQ(round_up(multiple + rest, unit), multiple + unit) << rest;
        EXPECT_FALSE(is_aligned(multiple + rest, unit)) << rest;
      }
    }
  }
}

TEST(Align, RoundsDownTheLargestValue) {
  constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
  static_assert(round_down(largest, 4096) == largest - 4095);
  static_assert(!is_aligned(largest, 2));
  static_assert(is_aligned(largest, 1));
}

}  // namespace
}  // namespace handback::testing
