// One thread's bios at a device with a deadline: the queue below, the shadows, and their ages.
//
// Owner: the DeadlineQueue; after that was closed with bios overdue, the device, until they are
// answered. Thread class: the opening thread; answers come on any.
#pragma once

#include <handback/block_device.h>
#include <handback/deadline_device.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "block/bio_queue.h"
#include "block/deadline_shadow.h"

namespace handback {

// An age of n + 1 ticks is at least n of them: the first began before the bio came.
inline constexpr std::uint8_t deadline_ticks = 8;

// When a bio is late. Shared by all lanes of a device.
struct DeadlineRule {
  explicit DeadlineRule(const DeadlineOptions& options) noexcept;

  [[nodiscard]] std::uint64_t now() const noexcept { return clock(clock_context); }

  std::uint64_t (*clock)(void* context) noexcept;
  void* clock_context;
  std::uint64_t tick_ns;
  std::atomic<bool> poisoned{false};
};

class DeadlineLane {
 public:
  DeadlineLane(DeadlineRule& rule, std::unique_ptr<BlockQueue> inner) noexcept
      : rule_(rule),
        owner_(thread_token()),
        inner_(std::move(inner)),
        pool_(&DeadlineLane::answered, this) {}
  DeadlineLane(const DeadlineLane&) = delete;
  DeadlineLane& operator=(const DeadlineLane&) = delete;

  [[nodiscard]] BlockQueue& inner() noexcept { return *inner_; }

  // Hands `chain` to the device below, unless that is poisoned.
  void submit(Bio* chain) noexcept {
    if (rule_.poisoned.load(std::memory_order_acquire)) [[unlikely]] {
      refuse(chain, IoResult::failure(Errc::poisoned, IoDetail::missed_deadline));
      return;
    }
    Bio* first = nullptr;
    Bio** last = &first;
    for (Bio* next = nullptr; chain != nullptr; chain = next) {
      next = chain->next;
      Shadow* const shadow = pool_.take();
      if (shadow == nullptr) [[unlikely]] {
        refuse_one(*chain, no_memory());
        continue;
      }
      shadow->stand_in_for(*chain);
      ++submitted_;
      *last = shadow;
      last = &shadow->next;
    }
    *last = nullptr;
    if (first != nullptr) [[likely]]
      inner_->submit(first);
  }

  // Ends what was refused or answered, and looks at the clock now and then. Returns how many of the
  // callers' bios were ended here.
  unsigned poll() noexcept {
    unsigned ended = inner_->poll();
    if (late_answers_ != 0 || !refused_.empty()) [[unlikely]]
      ended = ended - take_late_answers() + end_bios(refused_.take_all());
    if (ended != 0 && --busy_polls_left_ != 0) [[likely]]
      return ended;
    busy_polls_left_ = busy_polls_max;
    return ended + look_at_clock();
  }

  // Bios that have their result and end in the next poll().
  [[nodiscard]] bool has_refused() const noexcept { return !refused_.empty(); }

  // How long to sleep at most if `timeout_ns` was asked for.
  [[nodiscard]] std::int64_t bounded(std::int64_t timeout_ns) const noexcept;

  // Of the callers' bios. Owner only.
  [[nodiscard]] std::uint64_t in_flight() const noexcept {
    return submitted_ - ended_here_ - ended_elsewhere_.load(std::memory_order_acquire);
  }

  // Bios that are late and not answered. Any thread. Once it is 0 on a closed lane, nobody touches
  // the lane any more.
  [[nodiscard]] std::uint64_t overdue() const noexcept {
    return overdue_.load(std::memory_order_acquire);
  }

 private:
  // A thread that always finds something still looks at the clock after so many polls.
  static constexpr unsigned busy_polls_max = 64;

  void refuse(Bio* chain, IoResult result) noexcept;
  void refuse_one(Bio& bio, IoResult result) noexcept;
  static IoResult no_memory() noexcept;
  static void answered(Bio& bio) noexcept;
  static bool claim(Shadow& shadow, ShadowState as) noexcept;
  void answered_late(Shadow& shadow, bool here) noexcept;
  unsigned look_at_clock() noexcept;
  unsigned grow_older() noexcept;
  bool end_late(Shadow& shadow) noexcept;
  unsigned take_late_answers() noexcept {
    const unsigned count = late_answers_;
    late_answers_ = 0;
    return count;
  }

  DeadlineRule& rule_;
  const void* const owner_;
  std::unique_ptr<BlockQueue> inner_;
  std::uint64_t submitted_ = 0;
  std::uint64_t ended_here_ = 0;
  std::uint64_t next_tick_ns_ = 0;
  unsigned busy_polls_left_ = busy_polls_max;
  unsigned late_answers_ = 0;  // That the owner's poll saw.
  BioQueue refused_;
  ShadowPool pool_;
  std::atomic<std::uint64_t> ended_elsewhere_{0};
  std::atomic<std::uint64_t> overdue_{0};
};

}  // namespace handback
