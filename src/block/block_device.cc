#include <handback/block_device.h>

namespace handback {

bool BlockDevice::try_claim(bool for_writing) noexcept {
  int seen = claims_.load(std::memory_order_relaxed);
  do {
    if (for_writing ? seen != 0 : seen < 0) return false;
  } while (
      !claims_.compare_exchange_weak(seen, for_writing ? -1 : seen + 1, std::memory_order_acquire));
  return true;
}

void BlockDevice::release_claim() noexcept {
  int seen = claims_.load(std::memory_order_relaxed);
  while (!claims_.compare_exchange_weak(seen, seen < 0 ? 0 : seen - 1, std::memory_order_release)) {
  }
}

}  // namespace handback
