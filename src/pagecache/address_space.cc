#include "pagecache/address_space.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/align.h"
#include "base/assert.h"
#include "base/planted_bug.h"

namespace handback {
namespace {

// Calls `look` for each page of [offset, end) that is there, with the cache's lock held. Goes
// through the range or through the file's pages, whichever is shorter.
template <typename Look>
void for_each_page(PageCache& cache, const AddressSpace& space, SpacePages& pages,
                   std::uint64_t offset, std::uint64_t end, Look look) noexcept {
  const std::uint64_t first = offset / page_bytes;
  const std::uint64_t last = end / page_bytes + (end % page_bytes != 0 ? 1 : 0);
  if (last - first <= pages.size()) {
    for (std::uint64_t index = first; index < last; ++index) {
      if (Page* page = cache.find(space, index); page != nullptr) look(*page);
    }
    return;
  }
  for (auto it = pages.begin(); it != pages.end();) {
    Page& page = *it++;
    if (page.index >= first && page.index < last) look(page);
  }
}

}  // namespace

AddressSpace::~AddressSpace() {
  const PageCacheLock guard(cache);
  HB_ASSERT(pages_.empty() && write_backs_ == nullptr,
            "a file lets go of its pages before it goes itself");
}

std::uint64_t AddressSpace::size() const noexcept {
  // In this order: what is published meanwhile is in one of them.
  const std::uint64_t buffered = buffered_end_.load(std::memory_order_acquire);
  return std::max(buffered, file.published_size());
}

bool AddressSpace::has_pages(std::uint64_t offset, std::uint64_t end) const noexcept {
  if (page_count_.load(std::memory_order_acquire) == 0) return false;
  auto& self = const_cast<AddressSpace&>(*this);
  const PageCacheLock guard(cache);
  bool any = false;
  for_each_page(cache, *this, self.pages_, offset, end,
                [&](const Page& page) { any |= page.uptodate || page.reading; });
  return any;
}

bool AddressSpace::has_unwritten_back(std::uint64_t offset, std::uint64_t end) const noexcept {
  if (unwritten_count_.load(std::memory_order_acquire) == 0) return false;
  auto& self = const_cast<AddressSpace&>(*this);
  const PageCacheLock guard(cache);
  const std::uint64_t first = offset / page_bytes;
  const auto found = self.dirty_.lower_bound(first);
  if (found != self.dirty_.end() && found->offset() < end) return true;
  return self.in_flight_within({.offset = offset, .end = end, .epoch = ~std::uint64_t{0}}) !=
         nullptr;
}

void AddressSpace::invalidate(std::uint64_t offset, std::uint64_t end) noexcept {
  if (page_count_.load(std::memory_order_acquire) == 0) return;
  const PageCacheLock guard(cache);
  for_each_page(cache, *this, pages_, offset, end, [&](Page& page) {
    if (page.reading && !planted(PlantedBug::cache_read_not_marked_stale)) page.stale = true;
    if (!page.uptodate || page.dirty || page.writeback) return;
    page.uptodate = false;
    ++cache.counts.invalidations;
  });
}

void AddressSpace::wait_until_idle(Issuer& issuer, std::uint64_t offset,
                                   std::uint64_t end) noexcept {
  if (page_count_.load(std::memory_order_acquire) == 0) return;
  const auto idle = [&]() noexcept {
    const PageCacheLock guard(cache);
    bool busy =
        in_flight_within({.offset = offset, .end = end, .epoch = ~std::uint64_t{0}}) != nullptr;
    for_each_page(cache, *this, pages_, offset, end,
                  [&](const Page& page) { busy |= page.busy() || page.content.in_use(); });
    return !busy;
  };
  if (!idle()) issuer.settle_until(idle);
}

void AddressSpace::truncated(std::uint64_t size) noexcept {
  PageCacheLock guard(cache);
  if (buffered_end_.load(std::memory_order_relaxed) > size)
    buffered_end_.store(size, std::memory_order_release);
  const std::uint64_t kept = size % page_bytes;
  if (kept == 0 || planted(PlantedBug::cache_tail_not_zeroed)) return;
  for (;;) {
    Page* page = cache.find(*this, size / page_bytes);
    if (page == nullptr) return;
    // A read that is in flight may bring what was there before.
    if (page->reading) page->stale = true;
    if (!page->uptodate) return;
    if (page->content.try_change()) {
      guard.unlock();
      std::memset(page->data + kept, 0, page_bytes - kept);
      page->content.changed();
      return;
    }
    guard.unlock();
    std::this_thread::yield();
    guard.lock();
  }
}

bool AddressSpace::try_drop_all(bool dirty_too) noexcept {
  PageCacheLock guard(cache);
  if (!idle_locked() || (!dirty_too && !dirty_.empty())) return false;
  // Under one hold of the lock: a write-back for others' sake could start in between.
  while (!pages_.empty()) {
    Page& page = pages_.front();
    if (page.dirty) mark_clean(page);
    cache.drop(page);
  }
  guard.wake(cache.for_memory);
  return true;
}

void AddressSpace::drop(std::uint64_t offset, std::uint64_t end) noexcept {
  PageCacheLock guard(cache);
  for_each_page(cache, *this, pages_, offset, end, [&](Page& page) {
    if (page.dirty) mark_clean(page);
    page.failed = false;
    page.uptodate = false;
    if (page.reading) {
      page.stale = true;
      return;
    }
    if (!page.writeback && !page.content.in_use()) cache.drop(page);
  });
  guard.wake(cache.for_memory);
}

std::uint64_t AddressSpace::errors() const noexcept {
  const PageCacheLock guard(cache);
  return errors_;
}

IoResult AddressSpace::last_error() const noexcept {
  const PageCacheLock guard(cache);
  return error_;
}

bool AddressSpace::is_clean() const noexcept {
  const PageCacheLock guard(cache);
  return dirty_.empty() && idle_locked();
}

bool AddressSpace::is_idle() const noexcept {
  const PageCacheLock guard(cache);
  return idle_locked();
}

bool AddressSpace::is_dirty_since(std::uint64_t age_ns, std::uint64_t now_ns) noexcept {
  if (unwritten_count_.load(std::memory_order_acquire) == 0) return false;
  const PageCacheLock guard(cache);
  if (dirty_.empty()) return false;
  if (seen_dirty_ns_ == 0) seen_dirty_ns_ = now_ns;
  return now_ns - std::min(now_ns, seen_dirty_ns_) >= age_ns;
}

// --- with the lock held ---

void AddressSpace::mark_dirty(Page& page) noexcept {
  page.failed = false;
  if (page.dirty) return;
  page.dirty = true;
  page.dirty_epoch = epoch_;
  if (!listed_) cache.dirty_spaces.push_back(*this);
  listed_ = true;
  dirty_.insert(page);
  cache.count_dirty(1);
  unwritten_count_.fetch_add(1, std::memory_order_release);
}

void AddressSpace::mark_clean(Page& page) noexcept {
  page.dirty = false;
  dirty_.erase(dirty_.iterator_to(page));
  if (dirty_.empty()) {
    seen_dirty_ns_ = 0;
    cache.dirty_spaces.erase(cache.dirty_spaces.iterator_to(*this));
    listed_ = false;
  }
  cache.count_dirty(-1);
  unwritten_count_.fetch_sub(1, std::memory_order_release);
}

void AddressSpace::forget(Page& page) noexcept {
  pages_.erase(pages_.iterator_to(page));
  page_count_.store(pages_.size(), std::memory_order_release);
}

}  // namespace handback
