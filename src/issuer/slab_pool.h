// Fixed-size records for requests in flight: taken by the owning thread, given back by any thread.
//
// The free list refills from what other threads gave back before it grows, so that a steady state
// allocates nothing. Memory is returned to the host only with the pool.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "base/concurrency.h"
#include "base/planted_bug.h"

namespace handback {

template <std::size_t record_bytes, typename Concurrency = HostConcurrency>
class SlabPool {
 public:
  explicit SlabPool(unsigned count_initial) : owner_(Concurrency::this_thread()) {
    grow(count_initial);
  }
  SlabPool(const SlabPool&) = delete;
  SlabPool& operator=(const SlabPool&) = delete;

  // Owner only. Null when the host is out of memory.
  void* take() noexcept {
    if (free_ == nullptr) [[unlikely]] {
      free_ = returned_.exchange(nullptr, std::memory_order_acquire);
      if (planted(PlantedBug::slab_pool_loses_what_comes_back)) free_ = nullptr;
      if (free_ == nullptr && !grow(count_)) return nullptr;
    }
    Slot* slot = free_;
    free_ = slot->next;
    return slot;
  }

  // Any thread. `record` came from take() and is not used any more.
  void give_back(void* record) noexcept {
    auto* slot = ::new (record) Slot{nullptr};
    if (Concurrency::this_thread() == owner_) [[likely]] {
      slot->next = free_;
      free_ = slot;
      return;
    }
    slot->next = returned_.load(std::memory_order_relaxed);
    while (!returned_.compare_exchange_weak(slot->next, slot, std::memory_order_release,
                                            std::memory_order_relaxed)) {
    }
  }

  // Times that it grew after construction.
  [[nodiscard]] std::uint64_t growths() const noexcept {
    return slabs_.empty() ? 0 : slabs_.size() - 1;
  }

 private:
  struct Slot {
    Slot* next;
  };
  struct alignas(64) Record {
    std::byte bytes[record_bytes];
  };

  bool grow(unsigned count) noexcept {
    try {
      slabs_.push_back(std::make_unique<Record[]>(count));
    } catch (const std::bad_alloc&) {
      return false;
    }
    Record* records = slabs_.back().get();
    for (unsigned i = 0; i < count; ++i) {
      free_ = ::new (static_cast<void*>(&records[i])) Slot{free_};
    }
    count_ += count;
    return true;
  }

  const void* owner_;
  Slot* free_ = nullptr;
  unsigned count_ = 0;
  std::vector<std::unique_ptr<Record[]>> slabs_;
  alignas(64) typename Concurrency::template Atomic<Slot*> returned_{nullptr};
};

}  // namespace handback
