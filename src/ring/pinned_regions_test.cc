#include "ring/pinned_regions.h"

#include <gtest/gtest.h>

#include <array>

namespace handback {
namespace {

constexpr int none = PinnedRegions::none;

TEST(PinnedRegions, FindsSegmentsThatLieWhollyInsideOnly) {
  std::array<std::byte, 100> memory{};
  const std::span<const std::byte> all(memory);
  PinnedRegions regions(4);
  EXPECT_EQ(regions.find(memory.data(), 1), none);
  const int low = regions.add(all.subspan(10, 20));
  const int high = regions.add(all.subspan(50, 30));
  EXPECT_NE(low, high);
  struct Case {
    std::size_t offset;
    std::size_t length;
    int slot;
  };
  const Case cases[] = {{10, 20, low}, {10, 1, low},   {29, 1, low},   {9, 2, none},
                        {29, 2, none}, {30, 1, none},  {50, 30, high}, {79, 1, high},
                        {79, 2, none}, {10, 70, none}, {0, 100, none}, {60, 5, high},
                        {15, 15, low}, {15, 16, none}};
  // In both orders, because the region of the last hit is tried first.
  for (const Case& c : cases)
    EXPECT_EQ(regions.find(memory.data() + c.offset, c.length), c.slot);
  for (auto c = std::rbegin(cases); c != std::rend(cases); ++c) {
    EXPECT_EQ(regions.find(memory.data() + c->offset, c->length), c->slot);
  }
}

TEST(PinnedRegions, SlotsAreReusedAndRunOut) {
  std::array<std::byte, 64> memory{};
  const std::span<const std::byte> all(memory);
  PinnedRegions regions(2);
  const int first = regions.add(all.subspan(0, 8));
  const int second = regions.add(all.subspan(8, 8));
  EXPECT_EQ(regions.add(all.subspan(16, 8)), none);
  EXPECT_EQ(regions.remove(all.subspan(0, 16)), none);  // Not as it was added.
  EXPECT_EQ(regions.find(memory.data() + 8, 8), second);
  EXPECT_EQ(regions.remove(all.subspan(8, 8)), second);
  EXPECT_EQ(regions.find(memory.data() + 8, 8), none);
  EXPECT_EQ(regions.find(memory.data(), 8), first);
  EXPECT_EQ(regions.add(all.subspan(16, 8)), second);
  EXPECT_EQ(regions.find(memory.data() + 20, 4), second);
}

TEST(PinnedRegions, WithoutSlotsNothingIsFound) {
  std::array<std::byte, 8> memory{};
  PinnedRegions regions(0);
  EXPECT_EQ(regions.add(memory), none);
  EXPECT_EQ(regions.find(memory.data(), 8), none);
}

}  // namespace
}  // namespace handback
