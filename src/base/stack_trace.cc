#include "base/stack_trace.h"

#include <unistd.h>

#include <array>
#include <cstdio>

#if __has_include(<execinfo.h>)
#include <execinfo.h>
#endif

namespace handback {

void print_stack_trace() noexcept {
#if __has_include(<execinfo.h>)
  std::fflush(stderr);
  std::array<void*, 64> frames{};
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  // Straight to the descriptor: memory may be what is broken.
  constexpr int own_frames = 1;
  if (count > own_frames)
    ::backtrace_symbols_fd(frames.data() + own_frames, count - own_frames, STDERR_FILENO);
#endif
}

}  // namespace handback
