// The memory of a volume's page cache: its pages, who may have one, and what of them goes next.
//
// One lock guards all of it, and the state of every page; it is a leaf lock, since completions look
// at pages in device context (AddressSpace::has_pages). Bytes are copied without it
// (PageContent), I/O is started without it, and memory is taken without it.
//
// Thread class: any thread. What starts I/O or takes memory: task or issuer context.
#pragma once

#include <handback/page_cache.h>
#include <handback/page_wait.h>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/leaf_lock.h"
#include "pagecache/eviction.h"
#include "pagecache/page.h"
#include "pagecache/page_io.h"

namespace handback {

inline constexpr std::uint64_t page_cache_bytes_min = std::uint64_t{1} << 20;

struct PageCacheOptions {
  // At least page_cache_bytes_min.
  std::uint64_t memory_bytes_max = std::uint64_t{64} << 20;
};

// Links a file with dirty pages.
using DirtySpaceHook = boost::intrusive::list_base_hook<>;

class PageCache final : public PageWaitSource {
 public:
  explicit PageCache(const PageCacheOptions& options);
  PageCache(const PageCache&) = delete;
  PageCache& operator=(const PageCache&) = delete;
  ~PageCache();  // Requires: no file has pages, nothing is in flight.

  [[nodiscard]] bool cancel(WaitPage& wait) noexcept override;
  [[nodiscard]] PageCacheInfo info() const noexcept;
  [[nodiscard]] std::uint64_t memory_bytes_max() const noexcept {
    return options_.memory_bytes_max;
  }

  // Without the lock.
  [[nodiscard]] bool any_dirty() const noexcept {
    return dirty_.load(std::memory_order_seq_cst) != 0;
  }

  // Called when a page becomes dirty and none was before, with the lock held; it may store a flag.
  // Before anything is dirty.
  void on_dirty(void (*call)(void* with) noexcept, void* with) noexcept {
    dirty_call_ = call;
    dirty_with_ = with;
  }

  // Takes memory from the host, up to the bound, if fewer than `count` pages are free. Without the
  // lock. It is only a preparation: the pages may be somebody else's right after.
  void prepare_memory(std::uint64_t count) noexcept;
  // Whether prepare_memory(count) and prepare_read_record() have nothing to do. With the lock.
  [[nodiscard]] bool is_prepared_for_read(std::uint64_t count) const noexcept {
    return has_memory_for(count) && has_read_record();
  }

  // For a file that comes to have pages here.
  [[nodiscard]] std::uint16_t next_space_number() noexcept {
    return space_numbers_.fetch_add(1, std::memory_order_relaxed);
  }

  // Of some file with dirty pages. False: none can be started. Without the lock.
  bool start_any_write_back(Issuer::Impl& executor) noexcept;

  // --- with the lock held ---
  LeafLock lock;

  [[nodiscard]] Page* find(const AddressSpace& space, std::uint64_t index) noexcept;
  // A page for that place, which has none; of free ones, or one that others have used less.
  // Null: all are busy.
  [[nodiscard]] Page* take(AddressSpace& space, std::uint64_t index) noexcept;
  // The file loses the page. Requires: not busy, not in use.
  void drop(Page& page) noexcept;

  void count_dirty(std::int64_t change) noexcept {
    const std::uint64_t before = dirty_pages();
    dirty_.store(before + static_cast<std::uint64_t>(change), std::memory_order_seq_cst);
    if (before == 0 && dirty_call_ != nullptr) dirty_call_(dirty_with_);
  }
  [[nodiscard]] std::uint64_t dirty_pages() const noexcept {
    return dirty_.load(std::memory_order_relaxed);
  }
  // From here on writers start write-backs, and from here on they wait for them.
  [[nodiscard]] std::uint64_t dirty_pages_background() const noexcept { return budget_.pages / 8; }
  [[nodiscard]] std::uint64_t dirty_pages_max() const noexcept;
  [[nodiscard]] std::uint64_t pages_max() const noexcept { return budget_.pages; }
  // Whether a page can become free without anybody's doing: something is in flight.
  [[nodiscard]] bool memory_will_come() const noexcept {
    return reads_in_flight != 0 || writes_in_flight != 0;
  }

  // Null: all are in use; their list below tells when not.
  [[nodiscard]] PageRead* take_read() noexcept;
  [[nodiscard]] WriteBack* take_write_back() noexcept;
  void give_back(PageRead& read) noexcept;
  void give_back(WriteBack& write) noexcept;
  // Records that take_read() and take_write_back() may hand out. Without the lock.
  void prepare_read_record() noexcept;
  void prepare_write_back_record() noexcept;
  [[nodiscard]] std::uint32_t write_back_pages() const noexcept { return budget_.write_back_pages; }

  PageWaitList for_memory;       // Or for a record of a read.
  PageWaitList for_write_backs;  // Records of write-backs: one has ended.
  // Files with dirty pages; the first is the next to be written back for others' sake.
  boost::intrusive::list<DirtySpaceHook> dirty_spaces;
  IoResult last_error;  // Of write-backs, of any file.
  std::uint64_t reads_in_flight = 0;
  std::uint64_t writes_in_flight = 0;
  PageCacheInfo counts;  // What only grows.

 private:
  struct Slab;
  void free_page(Page& page) noexcept;
  // Of what the host gives: that much is free, or no more may be taken.
  [[nodiscard]] bool has_memory_for(std::uint64_t count) const noexcept;
  [[nodiscard]] bool has_read_record() const noexcept {
    return free_reads_ != nullptr || reads_taken_ == budget_.reads;
  }

  // How the bound is split: what copies for write-back and records of reads take at most, then
  // slabs of pages with their part of the index.
  struct Budget {
    explicit Budget(std::uint64_t bytes) noexcept;
    std::uint32_t write_back_pages;  // In one write-back.
    std::uint64_t reads;
    std::uint64_t slabs;
    std::uint64_t pages;
  };

  const PageCacheOptions options_;
  const Budget budget_;

  std::vector<PageIndex::bucket_type> buckets_;
  PageIndex index_;
  EvictionQueue eviction_;
  PageQueue free_;
  std::vector<std::unique_ptr<Slab>> slabs_;
  std::uint64_t slabs_taken_ = 0;  // Or about to be.
  std::atomic<std::uint16_t> space_numbers_{0};
  std::atomic<std::uint64_t> dirty_{0};  // Written under the lock.
  void (*dirty_call_)(void* with) noexcept = nullptr;
  void* dirty_with_ = nullptr;

  std::vector<std::unique_ptr<PageRead>> reads_;
  PageRead* free_reads_ = nullptr;
  std::uint64_t reads_taken_ = 0;
  std::vector<std::unique_ptr<WriteBack>> write_backs_;
  WriteBack* free_write_backs_ = nullptr;
  std::uint64_t write_backs_taken_ = 0;
};

// The lock for a scope, which says whom to wake after it.
class PageCacheLock {
 public:
  explicit PageCacheLock(PageCache& cache) noexcept : cache_(cache) { cache_.lock.lock(); }
  PageCacheLock(const PageCacheLock&) = delete;
  PageCacheLock& operator=(const PageCacheLock&) = delete;
  ~PageCacheLock() { unlock(); }

  void lock() noexcept {
    cache_.lock.lock();
    held_ = true;
  }
  void unlock() noexcept {
    if (!held_) return;
    held_ = false;
    cache_.lock.unlock();
    for (unsigned i = 0; i < woken_; ++i)
      PageWaitList::wake_all(to_wake_[i]);
    woken_ = 0;
  }
  // Everybody in the list, once the lock is released.
  void wake(PageWaitList& list, IoResult error = {}) noexcept {
    if (list.first == nullptr) return;
    WaitPage* taken = list.take_all(error);
    if (woken_ < lists_max) {
      to_wake_[woken_++] = taken;
      return;
    }
    WaitPage* tail = to_wake_[lists_max - 1];
    while (tail->next != nullptr)
      tail = tail->next;
    tail->next = taken;
  }

 private:
  static constexpr unsigned lists_max = 4;
  PageCache& cache_;
  WaitPage* to_wake_[lists_max] = {};
  unsigned woken_ = 0;
  bool held_ = true;
};

}  // namespace handback
