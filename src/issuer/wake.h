// How other threads wake an issuer that sleeps: a flag and an eventfd, written at most once per
// sleep.
#pragma once

#include <handback/error.h>
#include <atomic>
#include <cstdint>
#include <utility>

#include "base/concurrency.h"
#include "base/planted_bug.h"

namespace handback {

// The protocol. Event counts: write() adds one, and read() takes and returns all that was added, 0
// if nothing was.
template <typename Event, typename Concurrency = HostConcurrency>
class WakeProtocol {
 public:
  template <typename... Arguments>
  explicit WakeProtocol(Arguments&&... arguments) noexcept
      : event_(std::forward<Arguments>(arguments)...) {}
  WakeProtocol(const WakeProtocol&) = delete;
  WakeProtocol& operator=(const WakeProtocol&) = delete;

  // Owner. Says that it is about to sleep; it must then look at its inboxes once more before it
  // does: a thread that pushed before the flag was visible will not write.
  void announce_sleep() noexcept {
    sleeping_.store(true, planted(PlantedBug::wake_lost_before_sleep) ? std::memory_order_relaxed
                                                                      : std::memory_order_seq_cst);
  }

  // Owner. Must follow announce_sleep(), slept or not.
  void end_sleep() noexcept {
    // A waker that won the flag may not have written yet, while later ones have. Its write then
    // makes a later sleep short, and is read there; none may stay unread, or no sleep would ever
    // last again. Hence a count.
    if (!sleeping_.exchange(false, std::memory_order_seq_cst) &&
        !planted(PlantedBug::wake_forgets_late_writes))
      ++writes_owed_;
    if (writes_owed_ != 0) writes_owed_ -= event_.read();
  }

  // Any thread. A hint: the owner may be about to change it.
  [[nodiscard]] bool sleeping() const noexcept { return sleeping_.load(std::memory_order_relaxed); }

  // Any thread, after it pushed something.
  void wake() noexcept {
    if (sleeping_.load(std::memory_order_seq_cst) && sleeping_.exchange(false)) event_.write();
  }

 protected:
  [[nodiscard]] const Event& event() const noexcept { return event_; }

 private:
  Event event_;
  std::uint64_t writes_owed_ =
      0;  // Owner: wakers that won the flag and whose writes were not read yet.
  typename Concurrency::template Atomic<bool> sleeping_{false};
};

// Owns an eventfd.
class EventFd {
 public:
  explicit EventFd(int fd) noexcept : fd_(fd) {}
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;
  ~EventFd();

  void write() noexcept;
  std::uint64_t read() noexcept;
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

class Wake : public WakeProtocol<EventFd> {
 public:
  // Errors: io (the host is out of descriptors).
  [[nodiscard]] static Result<int> open_event_fd();

  explicit Wake(int event_fd) noexcept : WakeProtocol(event_fd) {}

  [[nodiscard]] int event_fd() const noexcept { return event().fd(); }
};

}  // namespace handback
