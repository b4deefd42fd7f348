#include "trace/buffer.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <new>

namespace handback {
namespace {

constexpr std::size_t header_bytes = (sizeof(TraceBuffer) + 63) / 64 * 64;

std::size_t buffer_bytes(std::uint32_t records) noexcept {
  return header_bytes + std::size_t{records} * sizeof(TraceRecord);
}

}  // namespace

TraceBuffer* TraceBuffer::map(std::uint32_t records) noexcept {
  void* memory = ::mmap(nullptr, buffer_bytes(records), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  return ::new (memory) TraceBuffer(records);
}

void TraceBuffer::unmap(TraceBuffer& buffer) noexcept {
  const std::size_t bytes = buffer_bytes(buffer.capacity());
  buffer.~TraceBuffer();
  ::munmap(&buffer, bytes);
}

TraceBuffer::TraceBuffer(std::uint32_t records) noexcept
    : mask_(records - 1), tid_(static_cast<std::uint32_t>(::gettid())) {
  ::prctl(PR_GET_NAME, name_.data());
}

TraceRecord* TraceBuffer::records() noexcept {
  return reinterpret_cast<TraceRecord*>(reinterpret_cast<char*>(this) + header_bytes);
}

bool TraceBuffer::take(std::vector<TraceRecord>& into) {
  // In this order: what was pushed before the end is seen once the end is.
  const bool ended = ended_.load(std::memory_order_acquire);
  const std::uint64_t head = head_.load(std::memory_order_acquire);
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  if (head != tail) {
    // Two pieces where it wraps around.
    const TraceRecord* first = records() + (tail & mask_);
    const std::uint64_t count = std::min(head - tail, mask_ + 1 - (tail & mask_));
    into.insert(into.end(), first, first + count);
    into.insert(into.end(), records(), records() + (head - tail - count));
    last_taken_ = into.back();
    tail_.store(head, std::memory_order_release);
  }
  const std::uint64_t lost = lost_.load(std::memory_order_relaxed);
  if (lost != lost_taken_) {
    // The newest were dropped: they belong behind what the full buffer held.
    into.push_back(TraceRecord{.time_ns = last_taken_.time_ns,
                               .value = lost - lost_taken_,
                               .tid = tid_,
                               .cpu = last_taken_.cpu,
                               .event = TraceEvent::lost,
                               .context = last_taken_.context});
    lost_taken_ = lost;
  }
  return ended;
}

}  // namespace handback
