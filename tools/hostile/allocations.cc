#include "hostile/allocations.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> now_bytes{0};
std::atomic<std::size_t> peak_bytes{0};

void* counted(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  const std::size_t bytes = malloc_usable_size(memory);
  const std::size_t now = now_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  std::size_t peak = peak_bytes.load(std::memory_order_relaxed);
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
  return memory;
}

void uncounted(void* memory) noexcept {
  if (memory == nullptr) return;
  now_bytes.fetch_sub(malloc_usable_size(memory), std::memory_order_relaxed);
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t bytes) {
  return counted(std::malloc(bytes == 0 ? 1 : bytes));
}
void* operator new[](std::size_t bytes) {
  return counted(std::malloc(bytes == 0 ? 1 : bytes));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  const auto align = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(align, (bytes + align - 1) / align * align));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return operator new(bytes, alignment);
}
// std::stable_sort takes its memory by these.
void* operator new(std::size_t bytes, const std::nothrow_t& /*nothrow*/) noexcept {
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  return memory == nullptr ? nullptr : counted(memory);
}
void* operator new[](std::size_t bytes, const std::nothrow_t& nothrow) noexcept {
  return operator new(bytes, nothrow);
}
void operator delete(void* memory, const std::nothrow_t& /*nothrow*/) noexcept {
  uncounted(memory);
}
void operator delete[](void* memory, const std::nothrow_t& /*nothrow*/) noexcept {
  uncounted(memory);
}
void operator delete(void* memory) noexcept {
  uncounted(memory);
}
void operator delete[](void* memory) noexcept {
  uncounted(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  uncounted(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/) noexcept {
  uncounted(memory);
}
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept {
  uncounted(memory);
}
void operator delete[](void* memory, std::align_val_t /*alignment*/) noexcept {
  uncounted(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
  uncounted(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/,
                       std::align_val_t /*alignment*/) noexcept {
  uncounted(memory);
}

namespace hostile {

std::size_t allocated_bytes() noexcept {
  return now_bytes.load(std::memory_order_relaxed);
}
std::size_t allocated_bytes_peak() noexcept {
  return peak_bytes.load(std::memory_order_relaxed);
}
void reset_allocated_peak() noexcept {
  peak_bytes.store(now_bytes.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

}  // namespace hostile
