// Which ranges in flight on one file meet. Fails with the planted bug range_conflict_off_by_one.
#include <gtest/gtest.h>

#include <tuple>

#include "dio/range_table.h"

namespace handback::testing {
namespace {

RangeEntry range(std::uint64_t offset, std::uint64_t end, RangeMode mode) {
  RangeEntry entry;
  entry.offset = offset;
  entry.end = end;
  entry.mode = mode;
  return entry;
}

TEST(RangeOverlap, OfOneByteHoldsBackAndOfNoneDoesNot) {
  using Entered = RangeTable<HostConcurrency>::Entered;
  RangeTable<HostConcurrency> table;
  RangeEntry drain = range(4096, 8192, RangeMode::everything);
  ASSERT_EQ(table.enter(drain, true), Entered::granted);
  for (const auto& [offset, end, entered] :
       {std::tuple{3584, 4096, Entered::granted}, std::tuple{3584, 4097, Entered::refused},
        std::tuple{4096, 4608, Entered::refused}, std::tuple{7680, 8192, Entered::refused},
        std::tuple{8191, 8704, Entered::refused}, std::tuple{8192, 8704, Entered::granted}}) {
    RangeEntry write = range(static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(end),
                             RangeMode::write);
    EXPECT_EQ(table.enter(write, true), entered) << offset << " to " << end;
    if (entered == Entered::granted) table.leave(write);
  }
  table.leave(drain);
}

}  // namespace
}  // namespace handback::testing
