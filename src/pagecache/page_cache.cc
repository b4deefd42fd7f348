#include "pagecache/page_cache.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"
#include "base/planted_bug.h"
#include "pagecache/address_space.h"

namespace handback {
namespace {

// Pages come from the host in slabs, so that a cache that is little used stays small.
constexpr std::uint32_t slab_pages = 32;
constexpr std::uint64_t write_backs_max = 4;

}  // namespace

struct PageCache::Slab {
  AlignedBuffer bytes{std::size_t{slab_pages} * page_bytes};
  Page pages[slab_pages];
};

PageCache::Budget::Budget(std::uint64_t bytes) noexcept
    : write_back_pages(static_cast<std::uint32_t>(
          std::clamp<std::uint64_t>(bytes / 128 / page_bytes, 4, std::size(WriteBack{}.pages)))),
      reads(std::clamp<std::uint64_t>(bytes / 32 / sizeof(PageRead), 8, 256)) {
  const std::uint64_t aside =
      write_backs_max * (sizeof(WriteBack) + std::uint64_t{write_back_pages} * page_bytes) +
      reads * sizeof(PageRead);
  // An index of twice as many buckets as pages at most, and a ghost each likewise.
  const std::uint64_t slab_bytes =
      sizeof(Slab) + std::uint64_t{slab_pages} * (page_bytes + 2 * sizeof(PageIndex::bucket_type) +
                                                  2 * sizeof(std::uint32_t));
  slabs = std::max<std::uint64_t>(1, (bytes - std::min(bytes, aside)) / slab_bytes);
  pages = slabs * slab_pages;
}

PageCache::PageCache(const PageCacheOptions& options)
    : options_(options),
      budget_(options.memory_bytes_max),
      buckets_(std::bit_ceil(budget_.pages)),
      index_(PageIndex::bucket_traits(buckets_.data(), buckets_.size())),
      eviction_(budget_.pages) {
  slabs_.reserve(budget_.slabs);
  reads_.reserve(budget_.reads);
  write_backs_.reserve(write_backs_max);
}

PageCache::~PageCache() {
  HB_ASSERT(index_.empty() && !memory_will_come(),
            "a page cache goes after all files have let go of their pages");
  free_.clear();
}

bool PageCache::cancel(WaitPage& wait) noexcept {
  const PageCacheLock guard(*this);
  return wait.list != nullptr && wait.list->cancel(wait);
}

PageCacheInfo PageCache::info() const noexcept {
  PageCacheLock guard(const_cast<PageCache&>(*this));
  PageCacheInfo now = counts;
  now.memory_bytes_max = options_.memory_bytes_max;
  now.pages = eviction_.size();
  now.pages_dirty = dirty_pages();
  now.memory_bytes = buckets_.size() * sizeof(PageIndex::bucket_type) + eviction_.memory_bytes() +
                     slabs_taken_ * (sizeof(Slab) + std::uint64_t{slab_pages} * page_bytes) +
                     reads_taken_ * sizeof(PageRead) +
                     write_backs_taken_ *
                         (sizeof(WriteBack) + std::uint64_t{budget_.write_back_pages} * page_bytes);
  return now;
}

// --- memory ---

bool PageCache::has_memory_for(std::uint64_t count) const noexcept {
  return free_.size() >= count ||
         (slabs_taken_ == budget_.slabs && !planted(PlantedBug::cache_memory_unbounded));
}

void PageCache::prepare_memory(std::uint64_t count) noexcept {
  for (;;) {
    {
      const PageCacheLock guard(*this);
      if (has_memory_for(count)) return;
      ++slabs_taken_;
    }
    auto slab = std::make_unique<Slab>();
    for (std::uint32_t i = 0; i < slab_pages; ++i)
      slab->pages[i].data = slab->bytes.data() + std::size_t{i} * page_bytes;
    const PageCacheLock guard(*this);
    for (Page& page : slab->pages)
      free_.push_back(page);
    slabs_.push_back(std::move(slab));
  }
}

void PageCache::prepare_read_record() noexcept {
  {
    const PageCacheLock guard(*this);
    if (has_read_record()) return;
    ++reads_taken_;
  }
  auto read = std::make_unique<PageRead>();
  const PageCacheLock guard(*this);
  read->next = free_reads_;
  free_reads_ = read.get();
  reads_.push_back(std::move(read));
}

void PageCache::prepare_write_back_record() noexcept {
  {
    const PageCacheLock guard(*this);
    if (free_write_backs_ != nullptr || write_backs_taken_ == write_backs_max) return;
    ++write_backs_taken_;
  }
  auto write = std::make_unique<WriteBack>();
  write->copy = AlignedBuffer(std::size_t{budget_.write_back_pages} * page_bytes);
  const PageCacheLock guard(*this);
  write->next = free_write_backs_;
  free_write_backs_ = write.get();
  write_backs_.push_back(std::move(write));
}

// --- with the lock held ---

std::uint64_t PageCache::dirty_pages_max() const noexcept {
  // Reads always find pages that can go.
  return planted(PlantedBug::cache_dirty_unbounded) ? ~std::uint64_t{0} : budget_.pages / 4;
}

Page* PageCache::find(const AddressSpace& space, std::uint64_t index) noexcept {
  const auto found = index_.find(PageKey{&space, index, space.number});
  return found == index_.end() ? nullptr : &*found;
}

Page* PageCache::take(AddressSpace& space, std::uint64_t index) noexcept {
  Page* page = nullptr;
  if (!free_.empty()) {
    page = &free_.front();
    free_.pop_front();
  } else {
    page = eviction_.pick();
    if (page == nullptr) return nullptr;
    ++counts.evictions;
    index_.erase(index_.iterator_to(*page));
    page->space->forget(*page);
  }
  page->space = &space;
  page->index = index;
  page->space_number = space.number;
  page->uptodate = page->stale = page->failed = page->drop = page->marks_readahead = false;
  index_.insert(*page);
  eviction_.insert(*page);
  space.pages_.push_back(*page);
  space.page_count_.store(space.pages_.size(), std::memory_order_release);
  return page;
}

void PageCache::drop(Page& page) noexcept {
  HB_ASSERT(!page.busy() && !page.dirty, "a page that goes is clean and idle");
  index_.erase(index_.iterator_to(page));
  eviction_.remove(page);
  page.space->forget(page);
  page.space = nullptr;
  free_.push_front(page);
}

PageRead* PageCache::take_read() noexcept {
  PageRead* read = free_reads_;
  if (read == nullptr) return nullptr;
  free_reads_ = read->next;
  ++reads_in_flight;
  return read;
}

void PageCache::give_back(PageRead& read) noexcept {
  --reads_in_flight;
  read.next = free_reads_;
  free_reads_ = &read;
}

WriteBack* PageCache::take_write_back() noexcept {
  WriteBack* write = free_write_backs_;
  if (write == nullptr) return nullptr;
  free_write_backs_ = write->next;
  ++writes_in_flight;
  return write;
}

void PageCache::give_back(WriteBack& write) noexcept {
  --writes_in_flight;
  write.next = free_write_backs_;
  free_write_backs_ = &write;
}

}  // namespace handback
