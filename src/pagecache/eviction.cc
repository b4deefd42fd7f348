#include "pagecache/eviction.h"

#include <algorithm>
#include <bit>

#include "base/planted_bug.h"

namespace handback {

EvictionQueue::EvictionQueue(std::uint64_t pages_max)
    : small_size_(std::max<std::uint64_t>(1, pages_max / 10)),
      ghosts_(std::bit_ceil(std::max<std::uint64_t>(64, pages_max))) {}

void EvictionQueue::insert(Page& page) noexcept {
  page.uses = 0;
  std::uint32_t& ghost = ghost_of(page);
  const bool came_back = ghost == fingerprint(page);
  if (came_back) ghost = 0;
  page.queue = came_back ? Page::Queue::main : Page::Queue::small;
  (came_back ? main_ : small_).push_back(page);
}

void EvictionQueue::remove(Page& page) noexcept {
  PageQueue& queue = page.queue == Page::Queue::main ? main_ : small_;
  queue.erase(queue.iterator_to(page));
  page.queue = Page::Queue::none;
}

void EvictionQueue::move_to_main(Page& page) noexcept {
  small_.erase(small_.iterator_to(page));
  page.uses = 0;
  page.queue = Page::Queue::main;
  main_.push_back(page);
}

Page* EvictionQueue::pick() noexcept {
  // Each page is looked at a few times at most: its uses are capped, and it moves up once.
  std::uint64_t looks = size() * (uses_max + 2);
  while (looks-- != 0) {
    const bool from_small = !small_.empty() && (small_.size() > small_size_ || main_.empty());
    PageQueue& of = from_small ? small_ : main_;
    Page& page = of.front();
    if (!can_go(page)) {
      of.splice(of.end(), of, of.iterator_to(page));
      continue;
    }
    if (page.queue == Page::Queue::small) {
      if (page.uses > 1 && !planted(PlantedBug::cache_scan_evicts_all)) {
        move_to_main(page);
        continue;
      }
      ghost_of(page) = fingerprint(page);
    } else if (page.uses != 0) {
      --page.uses;
      of.splice(of.end(), of, of.iterator_to(page));
      continue;
    }
    remove(page);
    return &page;
  }
  // All of the main queue may be busy while the small one, which is short, has pages that can go.
  for (PageQueue* queue : {&small_, &main_}) {
    for (Page& page : *queue) {
      if (!can_go(page)) continue;
      remove(page);
      return &page;
    }
  }
  return nullptr;
}

}  // namespace handback
