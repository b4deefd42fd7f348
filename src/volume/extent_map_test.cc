#include "volume/extent_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "base/base_test_support.h"

namespace handback {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(ExtentMap, MergesNeighboursThatContinueEachOtherInFileAndOnDevice) {
  ExtentMap map;
  std::vector<BlockRun> freed;
  map.insert(10, {100, 5, false}, &freed);
  map.insert(20, {110, 5, false}, &freed);
  map.insert(15, {105, 5, false}, &freed);
  EXPECT_THAT(map.all(), ElementsAre(Pair(10, Extent{100, 15, false})));
  EXPECT_THAT(freed, IsEmpty());
  EXPECT_EQ(map.blocks(), 15U);
}

TEST(ExtentMap, KeepsWrittenAndUnwrittenNeighboursApart) {
  ExtentMap map;
  std::vector<BlockRun> freed;
  map.insert(0, {100, 10, true}, &freed);
  map.insert(4, {104, 2, false}, &freed);
  EXPECT_THAT(map.all(), ElementsAre(Pair(0, Extent{100, 4, true}), Pair(4, Extent{104, 2, false}),
                                     Pair(6, Extent{106, 4, true})));
  EXPECT_THAT(freed, IsEmpty()) << "a conversion frees nothing";
}

TEST(ExtentMap, ReportsBlocksThatAnotherExtentReplaced) {
  ExtentMap map;
  std::vector<BlockRun> freed;
  map.insert(0, {100, 10, false}, &freed);
  map.insert(3, {200, 4, false}, &freed);
  EXPECT_THAT(freed, ElementsAre(BlockRun{103, 4}));
}

TEST(ExtentMap, DoesNotMergeBeyondTheLargestCount) {
  ExtentMap map;
  std::vector<BlockRun> freed;
  map.insert(0, {100, 0xffffffff, false}, &freed);
  map.insert(0xffffffff, {100 + std::uint64_t{0xffffffff}, 1, false}, &freed);
  EXPECT_EQ(map.size(), 2U);
}

TEST(ExtentMap, LooksUpHolesUpToTheNextExtent) {
  ExtentMap map;
  std::vector<BlockRun> freed;
  map.insert(10, {100, 5, false}, &freed);
  const auto hole = map.lookup(4);
  EXPECT_TRUE(hole.hole);
  EXPECT_EQ(hole.offset, 4U);
  EXPECT_EQ(hole.count, 6U);
  const auto inside = map.lookup(14);
  EXPECT_FALSE(inside.hole);
  EXPECT_EQ(inside.offset, 10U);
  EXPECT_TRUE(map.lookup(15).hole);
}

// Against a plain array of blocks. HB_SEED replays.
TEST(ExtentMap, AgreesWithAnArrayOfBlocksUnderRandomEdits) {
  const std::uint64_t seed = testing::number_from_environment("HB_SEED", 1);
  SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed);
  std::mt19937_64 random(seed);
  constexpr std::uint64_t blocks = 64;
  struct Block {
    std::uint64_t addr = 0;
    bool unwritten = false;
  };
  std::vector<std::optional<Block>> shadow(blocks);
  ExtentMap map;
  std::uint64_t next_addr = 1000;
  for (int step = 0; step < 5000; ++step) {
    const std::uint64_t offset = random() % blocks;
    const auto count = static_cast<std::uint32_t>(1 + random() % (blocks - offset));
    std::vector<BlockRun> freed;
    std::uint64_t expected_freed = 0;
    if (random() % 4 == 0) {
      map.erase(offset, count, &freed);
      for (std::uint64_t i = offset; i < offset + count; ++i) {
        expected_freed += shadow[i] ? 1 : 0;
        shadow[i].reset();
      }
    } else if (random() % 3 == 0 && shadow[offset]) {
      // Convert as much as lies in one piece on the device.
      std::uint32_t run = 1;
      while (run < count && shadow[offset + run] &&
             shadow[offset + run]->addr == shadow[offset]->addr + run)
        ++run;
      map.insert(offset, {shadow[offset]->addr, run, false}, &freed);
      for (std::uint32_t i = 0; i < run; ++i)
        shadow[offset + i]->unwritten = false;
    } else {
      const bool unwritten = random() % 2 == 0;
      map.insert(offset, {next_addr, count, unwritten}, &freed);
      for (std::uint64_t i = 0; i < count; ++i) {
        expected_freed += shadow[offset + i] ? 1 : 0;
        shadow[offset + i] = Block{next_addr + i, unwritten};
      }
      next_addr += count + random() % 2;
    }
    std::uint64_t freed_blocks = 0;
    for (const BlockRun& run : freed)
      freed_blocks += run.count;
    ASSERT_EQ(freed_blocks, expected_freed) << step;
    std::uint64_t mapped = 0;
    for (std::uint64_t i = 0; i < blocks; ++i) {
      const auto found = map.lookup(i);
      ASSERT_EQ(found.hole, !shadow[i].has_value()) << step << " block " << i;
      if (found.hole) continue;
      ++mapped;
      ASSERT_EQ(found.extent.addr + (i - found.offset), shadow[i]->addr) << step << " block " << i;
      ASSERT_EQ(found.extent.unwritten, shadow[i]->unwritten) << step << " block " << i;
    }
    ASSERT_EQ(map.blocks(), mapped);
  }
}

TEST(ExtentMap, AppendedToIsAsIfInsertedInto) {
  ExtentMap inserted;
  ExtentMap appended;
  std::vector<BlockRun> freed;
  std::mt19937_64 random(4);
  std::uint64_t addr = 1000;
  std::uint64_t offset = 0;
  for (int i = 0; i < 1000; ++i) {
    const Extent extent{addr, static_cast<std::uint32_t>(1 + random() % 9), random() % 3 == 0};
    inserted.insert(offset, extent, &freed);
    appended.append(offset, extent);
    addr += extent.count + (random() % 2 == 0 ? 0 : 7);
    offset += extent.count + (random() % 2 == 0 ? 0 : 5);
  }
  EXPECT_TRUE(inserted.all() == appended.all());
  EXPECT_EQ(inserted.blocks(), appended.blocks());
  EXPECT_EQ(inserted.unwritten_blocks(), appended.unwritten_blocks());
}

}  // namespace
}  // namespace handback
