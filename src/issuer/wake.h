// How other threads wake an issuer that sleeps: a flag and an eventfd, written at most once per
// sleep.
#pragma once

#include <handback/error.h>
#include <atomic>
#include <cstdint>

namespace handback {

class Wake {
 public:
  // Errors: io (the host is out of descriptors).
  [[nodiscard]] static Result<int> open_event_fd();

  explicit Wake(int event_fd) noexcept : event_fd_(event_fd) {}
  Wake(const Wake&) = delete;
  Wake& operator=(const Wake&) = delete;
  ~Wake();

  [[nodiscard]] int event_fd() const noexcept { return event_fd_; }

  // Owner. Says that it is about to sleep; it must then look at its inboxes once more before it
  // does: a thread that pushed before the flag was visible will not write.
  void announce_sleep() noexcept { sleeping_.store(true, std::memory_order_seq_cst); }

  // Owner. Must follow announce_sleep(), slept or not.
  void end_sleep() noexcept;

  // Any thread. A hint: the owner may be about to change it.
  [[nodiscard]] bool sleeping() const noexcept { return sleeping_.load(std::memory_order_relaxed); }

  // Any thread, after it pushed something.
  void wake() noexcept {
    if (sleeping_.load(std::memory_order_seq_cst) && sleeping_.exchange(false)) signal();
  }

 private:
  void signal() noexcept;

  int event_fd_;
  std::uint64_t writes_owed_ =
      0;  // Owner: wakers that won the flag and whose writes were not read yet.
  std::atomic<bool> sleeping_{false};
};

}  // namespace handback
