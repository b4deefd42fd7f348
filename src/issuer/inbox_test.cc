#include "issuer/inbox.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

namespace handback::testing {
namespace {

struct Node {
  unsigned value = 0;
  Node* next = nullptr;
};

template <std::size_t count>
std::array<Node, count> numbered() {
  std::array<Node, count> nodes;
  for (unsigned i = 0; i < count; ++i)
    nodes[i].value = i;
  return nodes;
}

std::vector<unsigned> values_of(LocalQueue<Node> queue) {
  std::vector<unsigned> values;
  while (!queue.empty())
    values.push_back(queue.pop().value);
  return values;
}

TEST(LocalQueue, GivesTheOldestFirst) {
  auto nodes = numbered<3>();
  LocalQueue<Node> queue;
  EXPECT_TRUE(queue.empty());
  for (Node& node : nodes)
    queue.push(node);
  EXPECT_FALSE(queue.empty());
  EXPECT_EQ(values_of(queue.take()), (std::vector<unsigned>{0, 1, 2}));
  EXPECT_TRUE(queue.empty());
}

TEST(LocalQueue, CanBeFilledAgainAfterItRanEmpty) {
  auto nodes = numbered<3>();
  LocalQueue<Node> queue;
  for (int round = 0; round < 3; ++round) {
    queue.push(nodes[2]);
    EXPECT_EQ(queue.pop().value, 2U);
    EXPECT_TRUE(queue.empty());
    queue.push(nodes[0]);
    queue.push(nodes[1]);
    EXPECT_EQ(queue.pop().value, 0U);
    queue.push(nodes[2]);
    EXPECT_EQ(values_of(queue.take()), (std::vector<unsigned>{1, 2}));
  }
}

// A callback pushes while the batch that was taken is worked off.
TEST(LocalQueue, TakesOnlyWhatItHeldWhenItWasTaken) {
  auto nodes = numbered<4>();
  LocalQueue<Node> queue;
  queue.push(nodes[0]);
  queue.push(nodes[1]);
  LocalQueue<Node> batch = queue.take();
  queue.push(nodes[2]);
  Node& popped = batch.pop();
  queue.push(popped);  // A node may go round at once.
  EXPECT_EQ(values_of(batch), (std::vector<unsigned>{1}));
  EXPECT_EQ(values_of(queue.take()), (std::vector<unsigned>{2, 0}));
}

TEST(LocalQueue, UnlinksWhatItGives) {
  auto nodes = numbered<2>();
  LocalQueue<Node> queue;
  queue.push(nodes[0]);
  queue.push(nodes[1]);
  EXPECT_EQ(queue.pop().next, nullptr);
}

TEST(SharedInbox, GivesEverythingPushedSoFarOldestFirst) {
  auto nodes = numbered<5>();
  SharedInbox<Node> inbox;
  EXPECT_TRUE(inbox.empty());
  EXPECT_TRUE(inbox.take().empty());
  for (Node& node : nodes) {
    inbox.push(node);
    EXPECT_FALSE(inbox.empty());
  }
  EXPECT_EQ(values_of(inbox.take()), (std::vector<unsigned>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(inbox.empty());
  inbox.push(nodes[3]);
  EXPECT_EQ(values_of(inbox.take()), (std::vector<unsigned>{3}));
}

TEST(SharedInbox, LosesNothingAndKeepsEachThreadsOrder) {
  constexpr unsigned thread_count = 3;
  constexpr unsigned node_count = 20'000;
  std::vector<std::vector<Node>> nodes(thread_count, std::vector<Node>(node_count));
  SharedInbox<Node> inbox;
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < thread_count; ++thread) {
    threads.emplace_back([&, thread] {
      for (unsigned i = 0; i < node_count; ++i) {
        nodes[thread][i].value = i * thread_count + thread;
        inbox.push(nodes[thread][i]);
      }
    });
  }
  std::array<unsigned, thread_count> next{};
  unsigned taken = 0;
  while (taken < thread_count * node_count) {
    LocalQueue<Node> batch = inbox.take();
    while (!batch.empty()) {
      const unsigned value = batch.pop().value;
      ASSERT_EQ(value / thread_count, next[value % thread_count]++);
      ++taken;
    }
  }
  for (auto& thread : threads)
    thread.join();
  EXPECT_TRUE(inbox.empty());
}

}  // namespace
}  // namespace handback::testing
