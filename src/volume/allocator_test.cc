#include "volume/allocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/base_test_support.h"

namespace handback {
namespace {

TEST(Allocator, ContinuesAtTheGoalIfItIsFree) {
  Allocator allocator(100, 200);
  EXPECT_EQ(allocator.allocate(10, 150), (BlockRun{150, 10}));
  EXPECT_EQ(allocator.allocate(10, 160), (BlockRun{160, 10}));
  EXPECT_EQ(allocator.free_blocks(), 80U);
}

TEST(Allocator, GivesLessAtTheGoalRatherThanElsewhere) {
  Allocator allocator(100, 200);
  ASSERT_TRUE(allocator.reserve({155, 5}));
  EXPECT_EQ(allocator.allocate(10, 150), (BlockRun{150, 5}));
}

TEST(Allocator, ChoosesTheSmallestRunThatHoldsAll) {
  Allocator allocator(0, 100);
  ASSERT_TRUE(allocator.reserve({10, 1}));  // Leaves 0..9
  ASSERT_TRUE(allocator.reserve({15, 1}));  // and 11..14
  EXPECT_EQ(allocator.allocate(4, 15), (BlockRun{11, 4}));
}

TEST(Allocator, GivesTheLargestRunWhenNoneHoldsAll) {
  Allocator allocator(0, 20);
  ASSERT_TRUE(allocator.reserve({12, 1}));
  EXPECT_EQ(allocator.allocate(100, 12), (BlockRun{0, 12}));
}

TEST(Allocator, SaysWhenNothingIsFree) {
  Allocator allocator(0, 4);
  EXPECT_EQ(allocator.allocate(4, 0), (BlockRun{0, 4}));
  EXPECT_EQ(allocator.allocate(1, 0), std::nullopt);
}

TEST(Allocator, RefusesToReserveWhatIsTakenOrOutside) {
  Allocator allocator(100, 200);
  EXPECT_TRUE(allocator.reserve({100, 10}));
  EXPECT_FALSE(allocator.reserve({109, 2}));
  EXPECT_FALSE(allocator.reserve({99, 1}));
  EXPECT_FALSE(allocator.reserve({200, 1}));
  EXPECT_FALSE(allocator.reserve({199, 2}));
  EXPECT_FALSE(allocator.reserve({~std::uint64_t{0}, 2}));
  EXPECT_FALSE(allocator.reserve({150, ~std::uint64_t{0}}));
  EXPECT_EQ(allocator.free_blocks(), 90U);
}

TEST(AllocatorDeathTest, AbortsWhenABlockIsFreedTwice) {
  Allocator allocator(0, 10);
  ASSERT_TRUE(allocator.reserve({2, 4}));
  allocator.release({2, 4});
  EXPECT_DEATH(allocator.release({3, 1}), "a block is freed once");
}

TEST(Allocator, NeverHandsOutABlockTwiceUnderRandomUse) {
  const std::uint64_t seed = testing::number_from_environment("HB_SEED", 1);
  SCOPED_TRACE(::testing::Message() << "replay with HB_SEED=" << seed);
  std::mt19937_64 random(seed);
  constexpr std::uint64_t blocks = 300;
  std::vector<bool> taken(blocks);
  std::vector<BlockRun> held;
  Allocator allocator(0, blocks);
  for (int step = 0; step < 20000; ++step) {
    if (held.empty() || random() % 2 == 0) {
      const auto run = allocator.allocate(1 + random() % 20, random() % blocks);
      if (!run) continue;
      for (std::uint64_t i = 0; i < run->count; ++i) {
        ASSERT_FALSE(taken[run->addr + i]) << step;
        taken[run->addr + i] = true;
      }
      held.push_back(*run);
    } else {
      const std::size_t which = random() % held.size();
      BlockRun run = held[which];
      held[which] = held.back();
      held.pop_back();
      allocator.release(run);
      for (std::uint64_t i = 0; i < run.count; ++i)
        taken[run.addr + i] = false;
    }
    ASSERT_EQ(allocator.free_blocks(),
              static_cast<std::uint64_t>(std::count(taken.begin(), taken.end(), false)));
  }
  for (const BlockRun& run : held)
    allocator.release(run);
  EXPECT_EQ(allocator.allocate(blocks, 0), (BlockRun{0, blocks})) << "freed runs merge into one";
}

TEST(Allocator, MadeOfWhatIsUsedIsAsIfThatHadBeenReserved) {
  std::mt19937_64 random(4);
  std::vector<BlockRun> used;
  Allocator reserved(100, 5000);
  for (std::uint64_t at = 100 + random() % 3; at < 4900; at += random() % 4) {
    used.push_back({at, 1 + random() % 40});
    ASSERT_TRUE(reserved.reserve(used.back()));
    at += used.back().count;
  }
  Allocator made(100, 5000, used);
  EXPECT_EQ(made.free_blocks(), reserved.free_blocks());
  for (int step = 0; step < 2000; ++step) {
    const std::uint64_t count = 1 + random() % 8;
    const std::uint64_t goal = random() % 5000;
    ASSERT_EQ(made.allocate(count, goal), reserved.allocate(count, goal)) << step;
  }
}

}  // namespace
}  // namespace handback
