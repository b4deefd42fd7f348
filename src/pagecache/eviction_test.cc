#include <deque>
#include <set>

#include "pagecache/pagecache_test_support.h"

namespace handback::testing {
namespace {

struct Pages {
  explicit Pages(std::uint64_t pages_max) : queue(pages_max) {}
  ~Pages() {
    for (Page& page : all) {
      if (page.queue != Page::Queue::none) queue.remove(page);
    }
  }

  Page& bring(std::uint64_t index) {
    Page& page = all.emplace_back();
    page.index = index;
    queue.insert(page);
    return page;
  }
  std::set<std::uint64_t> indices() {
    std::set<std::uint64_t> found;
    for (const Page& page : all) {
      if (page.queue != Page::Queue::none) found.insert(page.index);
    }
    return found;
  }

  std::deque<Page> all;
  EvictionQueue queue;
};

TEST(EvictionQueue, LetsAScanPassAndKeepsWhatIsUsed) {
  constexpr std::uint64_t pages_max = 100;
  Pages pages(pages_max);
  std::vector<Page*> hot;
  for (std::uint64_t index = 0; index < 50; ++index)
    hot.push_back(&pages.bring(index));
  for (int round = 0; round < 2; ++round) {
    for (Page* page : hot)
      EvictionQueue::touch(*page);
  }
  // A scan of ten times the cache, each page read once.
  for (std::uint64_t index = 1000; index < 1000 + 10 * pages_max; ++index) {
    if (pages.queue.size() == pages_max) {
      ASSERT_NE(pages.queue.pick(), nullptr);
    }
    EvictionQueue::touch(pages.bring(index));
  }
  const std::set<std::uint64_t> left = pages.indices();
  for (std::uint64_t index = 0; index < 50; ++index)
    EXPECT_EQ(left.count(index), 1U) << "page " << index << " was used twice and has gone";
}

TEST(EvictionQueue, TakesWhatCameFirstOfWhatWasUsedOnce) {
  Pages pages(10);
  for (std::uint64_t index = 0; index < 10; ++index)
    pages.bring(index);
  for (std::uint64_t index = 0; index < 10; ++index) {
    Page* page = pages.queue.pick();
    ASSERT_NE(page, nullptr);
    EXPECT_EQ(page->index, index);
  }
  EXPECT_EQ(pages.queue.pick(), nullptr);
}

TEST(EvictionQueue, TakesNoPageThatIsDirtyInFlightOrBeingCopied) {
  Pages pages(10);
  pages.bring(0).dirty = true;
  pages.bring(1).reading = true;
  pages.bring(2).writeback = true;
  Page& copied = pages.bring(3);
  ASSERT_TRUE(copied.content.try_share());
  EXPECT_EQ(pages.queue.pick(), nullptr);
  copied.content.unshare();
  EXPECT_EQ(pages.queue.pick(), &copied);
}

TEST(EvictionQueue, FindsTheOnePageThatCanGoWhereverItIs) {
  Pages pages(20);
  for (std::uint64_t index = 0; index < 19; ++index)
    pages.bring(index).dirty = true;
  Page& clean = pages.bring(19);
  for (int use = 0; use < 5; ++use)
    EvictionQueue::touch(clean);
  EXPECT_EQ(pages.queue.pick(), &clean);
}

TEST(EvictionQueue, KeepsWhatComesBackSoonAfterItWent) {
  constexpr std::uint64_t pages_max = 20;
  Pages pages(pages_max);
  for (std::uint64_t index = 0; index < pages_max; ++index)
    pages.bring(index);
  Page* gone = pages.queue.pick();
  ASSERT_NE(gone, nullptr);
  ASSERT_EQ(gone->index, 0U);
  EXPECT_EQ(pages.bring(0).queue, Page::Queue::main);
  EXPECT_EQ(pages.bring(500).queue, Page::Queue::small);
}

}  // namespace
}  // namespace handback::testing
