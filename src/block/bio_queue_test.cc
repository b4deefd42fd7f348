#include "block/bio_queue.h"

#include <gtest/gtest.h>

#include <array>

namespace handback {
namespace {

TEST(BioQueue, GivesBiosBackInTheOrderTheyCame) {
  std::array<Bio, 3> bios;
  BioQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.pop(), nullptr);
  for (Bio& bio : bios)
    queue.push(bio);
  EXPECT_EQ(queue.pop(), &bios[0]);
  EXPECT_EQ(queue.pop(), &bios[1]);
  queue.push(bios[0]);
  EXPECT_EQ(queue.pop(), &bios[2]);
  EXPECT_EQ(queue.pop(), &bios[0]);
  EXPECT_EQ(queue.pop(), nullptr);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(bios[2].next, nullptr);
}

TEST(BioQueue, AppendMovesAllAndLeavesTheOtherUsable) {
  std::array<Bio, 4> bios;
  BioQueue front;
  BioQueue back;
  front.append(back);
  EXPECT_TRUE(front.empty());
  back.push(bios[1]);
  back.push(bios[2]);
  front.push(bios[0]);
  front.append(back);
  EXPECT_TRUE(back.empty());
  back.push(bios[3]);
  front.append(back);
  for (Bio& bio : bios)
    EXPECT_EQ(front.pop(), &bio);
  EXPECT_TRUE(front.empty());
}

TEST(BioQueue, EndsAChainWhoseBiosAreReusedAtOnce) {
  std::array<Bio, 3> bios;
  BioQueue queue;
  BioQueue again;
  for (Bio& bio : bios) {
    bio.private_ = &again;
    bio.end_io = [](Bio& ended) noexcept { static_cast<BioQueue*>(ended.private_)->push(ended); };
    queue.push(bio);
  }
  EXPECT_EQ(end_bios(queue.take_all()), 3U);
  EXPECT_TRUE(queue.empty());
  for (Bio& bio : bios)
    EXPECT_EQ(again.pop(), &bio);
  EXPECT_EQ(end_bios(nullptr), 0U);
}

}  // namespace
}  // namespace handback
