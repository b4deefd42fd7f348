// One page of a file in memory. Everything is guarded by the cache's lock, but for the bytes and
// `content`.
#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <boost/intrusive/unordered_set.hpp>
#include <cstddef>
#include <cstdint>

#include "pagecache/page_wait.h"

namespace handback {

class AddressSpace;

inline constexpr std::uint32_t page_bytes = 4096;

// Who is at the bytes of a page: some that copy from it, or one that changes it. Taken under the
// cache's lock, so that whoever looks for the page there finds a stable answer; let go of without.
// Held for a copy of at most a page.
class PageContent {
 public:
  [[nodiscard]] bool try_share() noexcept {
    if (state_.load(std::memory_order_acquire) == changing_) return false;
    state_.fetch_add(1, std::memory_order_acquire);
    return true;
  }
  void unshare() noexcept { state_.fetch_sub(1, std::memory_order_release); }

  [[nodiscard]] bool try_change() noexcept {
    if (state_.load(std::memory_order_acquire) != 0) return false;
    state_.store(changing_, std::memory_order_relaxed);
    return true;
  }
  void changed() noexcept { state_.store(0, std::memory_order_release); }

  [[nodiscard]] bool in_use() const noexcept { return state_.load(std::memory_order_acquire) != 0; }

 private:
  static constexpr std::uint32_t changing_ = 1U << 31;
  std::atomic<std::uint32_t> state_{0};
};

// What a hit looks at comes first and is one cache line.
struct alignas(64) Page {
  AddressSpace* space = nullptr;  // Null: free.
  std::uint64_t index = 0;        // Of the file's pages.
  boost::intrusive::unordered_set_member_hook<> in_index;
  std::byte* data = nullptr;

  PageContent content;
  bool uptodate = false;         // The bytes are the file's.
  bool dirty = false;            // And newer than the device's.
  bool reading = false;          // A read of it is in flight.
  bool stale = false;            // While reading: what comes must not become up to date.
  bool writeback = false;        // A copy of it is on its way to the device.
  bool failed = false;           // Dirty, and its last write-back failed.
  bool drop = false;             // DONTCACHE: goes once it is clean and idle.
  bool marks_readahead = false;  // Whoever gets here starts the next stretch.
  std::uint8_t uses = 0;         // For eviction: capped.
  enum class Queue : std::uint8_t { none, small, main } queue = Queue::none;
  std::uint16_t space_number = 0;
  PageWaitList waiters;  // For the end of the read.

  std::uint64_t dirty_epoch = 0;                  // When it became dirty (AddressSpace::epoch).
  boost::intrusive::list_member_hook<> in_queue;  // Of eviction, or of free pages.
  boost::intrusive::list_member_hook<> in_space;
  boost::intrusive::set_member_hook<boost::intrusive::optimize_size<true>> in_dirty;

  [[nodiscard]] std::uint64_t offset() const noexcept { return index * page_bytes; }
  [[nodiscard]] bool busy() const noexcept { return reading || writeback; }
};

static_assert(sizeof(Page) == 128);

using PageQueue = boost::intrusive::list<
    Page,
    boost::intrusive::member_hook<Page, boost::intrusive::list_member_hook<>, &Page::in_queue>>;
using SpacePages = boost::intrusive::list<
    Page,
    boost::intrusive::member_hook<Page, boost::intrusive::list_member_hook<>, &Page::in_space>>;

struct PageIndexOf {
  using type = std::uint64_t;
  [[nodiscard]] type operator()(const Page& page) const noexcept { return page.index; }
};
using DirtyPages = boost::intrusive::set<
    Page,
    boost::intrusive::member_hook<
        Page, boost::intrusive::set_member_hook<boost::intrusive::optimize_size<true>>,
        &Page::in_dirty>,
    boost::intrusive::key_of_value<PageIndexOf>>;

// How pages are found: by file and index.
struct PageKey {
  const AddressSpace* space;
  std::uint64_t index;
  std::uint16_t space_number;  // For the hash: addresses differ from run to run.
  friend bool operator==(const PageKey&, const PageKey&) = default;
};
struct PageKeyOf {
  using type = PageKey;
  [[nodiscard]] type operator()(const Page& page) const noexcept {
    return {page.space, page.index, page.space_number};
  }
};
[[nodiscard]] inline std::uint64_t page_hash(const PageKey& key) noexcept {
  std::uint64_t mixed = (std::uint64_t{key.space_number} << 48) + key.index * 0x9e3779b97f4a7c15U;
  mixed ^= mixed >> 32;
  mixed *= 0xd6e8feb86659fd93U;
  return mixed ^ (mixed >> 32);
}
struct PageKeyHash {
  [[nodiscard]] std::size_t operator()(const PageKey& key) const noexcept { return page_hash(key); }
};
using PageIndex = boost::intrusive::unordered_set<
    Page,
    boost::intrusive::member_hook<Page, boost::intrusive::unordered_set_member_hook<>,
                                  &Page::in_index>,
    boost::intrusive::key_of_value<PageKeyOf>, boost::intrusive::hash<PageKeyHash>,
    boost::intrusive::power_2_buckets<true>>;

}  // namespace handback
