#include <handback/issuer.h>
#include <cstring>
#include <new>
#include <utility>

#include "base/align.h"

namespace handback {
namespace {
constexpr std::size_t buffer_alignment_bytes = 4096;
}

AlignedBuffer::AlignedBuffer(std::size_t bytes) : size_(round_up(bytes, buffer_alignment_bytes)) {
  if (size_ == 0) return;
  data_ = static_cast<std::byte*>(::operator new (size_, std::align_val_t{buffer_alignment_bytes}));
  std::memset(data_, 0, size_);
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) ::operator delete (data_, std::align_val_t{buffer_alignment_bytes});
}

}  // namespace handback
