// What of a request failed: bios race, and may end in any order.
#pragma once

#include <handback/error.h>
#include <atomic>
#include <bit>
#include <cstdint>

#include "base/concurrency.h"
#include "base/planted_bug.h"

namespace handback {

template <typename Concurrency = HostConcurrency>
class FirstError {
 public:
  // `at`: where in the request the failed bio begins. The error that comes first counts, and the
  // lowest place.
  void record(IoResult error, std::uint32_t at) noexcept {
    std::uint32_t lowest = lowest_.load(std::memory_order_relaxed);
    while (
        (lowest == 0 || (at + 1 < lowest) != planted(PlantedBug::first_error_at_the_wrong_place)) &&
        !lowest_.compare_exchange_weak(lowest, at + 1, std::memory_order_relaxed)) {
    }
    if (planted(PlantedBug::first_error_overwritten)) {
      error_.store(std::bit_cast<std::uint64_t>(error.with_bytes(0)), std::memory_order_relaxed);
      return;
    }
    std::uint64_t none = 0;
    error_.compare_exchange_strong(none, std::bit_cast<std::uint64_t>(error.with_bytes(0)),
                                   std::memory_order_relaxed);
  }

  // The rest is for whoever has dropped the last reference.
  [[nodiscard]] bool any() const noexcept { return error_.load(std::memory_order_relaxed) != 0; }
  // Requires: any().
  [[nodiscard]] IoResult error() const noexcept {
    return std::bit_cast<IoResult>(error_.load(std::memory_order_relaxed));
  }
  // Requires: any(). Everything before it was transferred.
  [[nodiscard]] std::uint32_t at() const noexcept {
    return lowest_.load(std::memory_order_relaxed) - 1;
  }

 private:
  // IoResult as bits, 0 for none.
  typename Concurrency::template Atomic<std::uint64_t> error_{0};
  // 1 + the lowest place, 0 for none.
  typename Concurrency::template Atomic<std::uint32_t> lowest_{0};
};

}  // namespace handback
