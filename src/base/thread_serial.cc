#include "base/thread_serial.h"

#include <atomic>

namespace handback {

std::uint64_t thread_serial() noexcept {
  static std::atomic<std::uint64_t> threads{0};
  thread_local const std::uint64_t serial = threads.fetch_add(1, std::memory_order_relaxed) + 1;
  return serial;
}

}  // namespace handback
