// Stand-ins for the bios of callers at a device that may answer after its caller has given up.
//
// The device below sees only shadows, so that a late answer finds memory that is still there. A
// shadow is claimed once: by the answer, or by the deadline.
#pragma once

#include <handback/bio.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <vector>

#include "base/context.h"
#include "base/planted_bug.h"

namespace handback {

enum class ShadowState : std::uint8_t {
  free,       // In the pool.
  in_flight,  // The caller's bio ends with the answer or at the deadline, whichever claims it
              // first.
  late,       // The caller's bio has ended, and may be gone; the answer frees the shadow.
};

struct Shadow : Bio {
  Bio* original = nullptr;  // The caller's. Not to be touched when late.
  std::atomic<ShadowState> state{ShadowState::free};
  std::uint8_t age = 0;  // In ticks of the deadline. The owning thread's.

  // Becomes what the device below sees of `bio`. Owner only.
  void stand_in_for(Bio& bio) noexcept {
    op = bio.op;
    fua = bio.fua && !planted(PlantedBug::shadow_loses_fua);
    segment_count = bio.segment_count;
    ioprio = bio.ioprio;
    length = bio.length;
    addr = bio.addr;
    segments[0] = bio.segments[0];
    if (bio.segment_count > 1) {
      // A count that is too large is refused below.
      const unsigned count = std::min<unsigned>(bio.segment_count, bio_segments_max);
      std::copy(bio.segments + 1, bio.segments + count, segments + 1);
    }
    original = &bio;
    age = 0;
    state.store(ShadowState::in_flight, std::memory_order_relaxed);
  }
};

// Shadows that never move and are never destroyed before the pool: the owner looks at all of them
// to find those that are late, so that nobody needs a list of what is in flight.
//
// Taken by the owning thread, given back by any. The free list refills from what other threads gave
// back before it grows, so that a steady state allocates nothing.
class ShadowPool {
 public:
  // Every shadow has this end and this private_.
  ShadowPool(BioEnd end_io, void* owner) noexcept : end_io_(end_io), owner_(owner) {}
  ShadowPool(const ShadowPool&) = delete;
  ShadowPool& operator=(const ShadowPool&) = delete;

  // Owner only. Null when the host is out of memory.
  Shadow* take() noexcept {
    if (free_ == nullptr) [[unlikely]] {
      free_ = returned_.exchange(nullptr, std::memory_order_acquire);
      if (free_ == nullptr && !grow()) return nullptr;
    }
    Shadow* const shadow = free_;
    free_ = static_cast<Shadow*>(shadow->next);
    return shadow;
  }

  // Owner only.
  void give_back(Shadow& shadow) noexcept {
    shadow.next = free_;
    free_ = &shadow;
  }

  // Any other thread.
  void give_back_from_elsewhere(Shadow& shadow) noexcept {
    Shadow* first = returned_.load(std::memory_order_relaxed);
    do {
      shadow.next = first;
    } while (!returned_.compare_exchange_weak(first, &shadow, std::memory_order_release,
                                              std::memory_order_relaxed));
  }

  // Owner only.
  template <typename Function>
  void for_each(Function&& function) noexcept {
    for (const Slab& slab : slabs_) {
      for (std::size_t i = 0; i < slab.count; ++i)
        function(slab.shadows[i]);
    }
  }

  [[nodiscard]] std::size_t slabs() const noexcept { return slabs_.size(); }

 private:
  static constexpr std::size_t first_count = 64;
  struct Slab {
    std::unique_ptr<Shadow[]> shadows;
    std::size_t count;
  };

  bool grow() noexcept {
    const std::size_t count = slabs_.empty() ? first_count : 2 * slabs_.back().count;
    try {
      slabs_.push_back(Slab{std::make_unique<Shadow[]>(count), count});
    } catch (const std::bad_alloc&) {
      return false;
    }
    Shadow* const shadows = slabs_.back().shadows.get();
    for (std::size_t i = count; i-- > 0;) {
      shadows[i].end_io = end_io_;
      shadows[i].private_ = owner_;
      give_back(shadows[i]);
    }
    return true;
  }

  const BioEnd end_io_;
  void* const owner_;
  Shadow* free_ = nullptr;
  std::vector<Slab> slabs_;
  alignas(64) std::atomic<Shadow*> returned_{nullptr};
};

}  // namespace handback
