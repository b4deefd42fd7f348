// One thread's records: a buffer with one producer, the thread, and one consumer, whoever reads.
//
// The producer takes no lock, allocates nothing and never waits: what finds no room is counted and
// dropped. It may be a signal handler of that thread, but not one that interrupts push(): the
// shield (base/shield.h) is up around it.
#pragma once

#include <handback/trace.h>
#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

namespace handback {

class TraceBuffer {
 public:
  // Maps a buffer for the calling thread; null when the host is out of memory. Memory comes from
  // the system directly, because the thread may be in a signal handler. `records` is a power of
  // two.
  static TraceBuffer* map(std::uint32_t records) noexcept;
  // Gives the memory back. Requires: ended, and all taken.
  static void unmap(TraceBuffer& buffer) noexcept;

  TraceBuffer(const TraceBuffer&) = delete;
  TraceBuffer& operator=(const TraceBuffer&) = delete;

  // --- the thread ---
  void push(const TraceRecord& record) noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_seen_ > mask_) [[unlikely]] {
      tail_seen_ = tail_.load(std::memory_order_acquire);
      if (head - tail_seen_ > mask_) {
        lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        return;
      }
    }
    records()[head & mask_] = record;
    head_.store(head + 1, std::memory_order_release);
  }
  // No push() comes after this.
  void end() noexcept { ended_.store(true, std::memory_order_release); }

  [[nodiscard]] std::uint32_t capacity() const noexcept {
    return static_cast<std::uint32_t>(mask_ + 1);
  }
  [[nodiscard]] std::uint32_t tid() const noexcept { return tid_; }

  // --- the reader ---
  // Appends what was pushed; then, if anything was dropped since the last time, a `lost` record.
  // True if the thread has ended, so that nothing will follow.
  bool take(std::vector<TraceRecord>& into);

  // The thread's name. Ends with a zero.
  [[nodiscard]] const char* name() const noexcept { return name_.data(); }

  TraceBuffer* next = nullptr;  // The collector's.

 private:
  explicit TraceBuffer(std::uint32_t records) noexcept;
  [[nodiscard]] TraceRecord* records() noexcept;

  const std::uint64_t mask_;
  const std::uint32_t tid_;
  std::array<char, 16> name_{};
  // Counted without end: full is head - tail == capacity.
  alignas(64) std::atomic<std::uint64_t> head_{0};
  std::uint64_t tail_seen_ = 0;  // The thread's own last look at tail_.
  std::atomic<std::uint64_t> lost_{0};
  std::atomic<bool> ended_{false};
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t lost_taken_ = 0;  // The reader's, as is the next.
  TraceRecord last_taken_;
};

}  // namespace handback
