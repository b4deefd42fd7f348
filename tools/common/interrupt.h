// Ctrl-C, made into a question that long work asks: finish what is in flight, close the volume,
// then exit.
#pragma once

#include <csignal>

namespace tool {

// While one exists, the first SIGINT, SIGTERM or SIGHUP is only noted; a second one kills as ever.
class InterruptGuard {
 public:
  InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard();

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
  struct sigaction old_hup_ {};
};

// The signal that was noted, or 0.
[[nodiscard]] int interrupted_by() noexcept;

}  // namespace tool
