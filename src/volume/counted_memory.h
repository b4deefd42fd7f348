// Counts what the extents and free runs of all volumes of this process take of memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace handback {

inline std::atomic<std::uint64_t> counted_memory_bytes{0};

// A std::allocator that counts.
template <typename T>
struct CountedAllocator {
  using value_type = T;

  CountedAllocator() noexcept = default;
  template <typename Other>
  // NOLINTNEXTLINE(google-explicit-constructor): containers rebind.
  CountedAllocator(const CountedAllocator<Other>& /*other*/) noexcept {}

  [[nodiscard]] T* allocate(std::size_t count) {
    T* memory = std::allocator<T>().allocate(count);
    counted_memory_bytes.fetch_add(count * sizeof(T), std::memory_order_relaxed);
    return memory;
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    counted_memory_bytes.fetch_sub(count * sizeof(T), std::memory_order_relaxed);
    std::allocator<T>().deallocate(memory, count);
  }

  template <typename Other>
  bool operator==(const CountedAllocator<Other>& /*other*/) const noexcept {
    return true;
  }
};

}  // namespace handback
