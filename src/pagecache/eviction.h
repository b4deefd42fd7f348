// Which page goes next, after S3-FIFO (Yang et al., SOSP 2023): a page enters a small queue and
// leaves the cache at its end unless it was used again; then it enters the main queue, whose pages
// go around as often as they were used. A page that comes back soon after it went enters the main
// queue at once. So one big scan passes through the small queue and leaves the rest alone.
//
// Guarded by the cache's lock.
#pragma once

#include <cstdint>
#include <vector>

#include "pagecache/page.h"

namespace handback {

class EvictionQueue {
 public:
  explicit EvictionQueue(std::uint64_t pages_max);

  // A page that has come into the cache.
  void insert(Page& page) noexcept;
  // One that goes otherwise: its file has lost it.
  void remove(Page& page) noexcept;
  // It was used once more.
  static void touch(Page& page) noexcept {
    if (page.uses < uses_max) ++page.uses;
  }

  // Takes out the page that is to go, of those that can. Null: none can.
  [[nodiscard]] Page* pick() noexcept;

  [[nodiscard]] std::uint64_t size() const noexcept { return small_.size() + main_.size(); }
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return ghosts_.size() * sizeof(ghosts_[0]);
  }

 private:
  static constexpr std::uint8_t uses_max = 3;

  [[nodiscard]] static bool can_go(const Page& page) noexcept {
    return !page.dirty && !page.busy() && !page.content.in_use();
  }
  [[nodiscard]] static std::uint32_t fingerprint(const Page& page) noexcept {
    return static_cast<std::uint32_t>(page_hash(PageKeyOf()(page)) >> 32) | 1U;
  }
  [[nodiscard]] std::uint32_t& ghost_of(const Page& page) noexcept {
    return ghosts_[page_hash(PageKeyOf()(page)) & (ghosts_.size() - 1)];
  }
  void move_to_main(Page& page) noexcept;

  PageQueue small_;
  PageQueue main_;
  std::uint64_t small_size_;           // What the small queue is to have at most.
  std::vector<std::uint32_t> ghosts_;  // Fingerprints of pages that went from the small queue.
};

}  // namespace handback
