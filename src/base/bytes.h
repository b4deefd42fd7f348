// Little-endian encoding and bounds-checked decoding of metadata.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace handback {

static_assert(
    std::endian::native == std::endian::little,
    "the on-disk format is little-endian; a big-endian host needs byte swaps in this file");

// Appends to a growing buffer.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::byte>& out) : out_(out) {}

  template <typename T>
  requires std::is_integral_v<T>
  void put(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    out_.insert(out_.end(), bytes, bytes + sizeof(T));
  }
  // Length in 16 bits, then the bytes.
  void put_string(std::string_view text) {
    put(static_cast<std::uint16_t>(text.size()));
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    out_.insert(out_.end(), bytes, bytes + text.size());
  }

 private:
  std::vector<std::byte>& out_;
};

// Reads from bytes that nobody vouches for: the first read past the end makes ok() false for good,
// and everything read from then on is zero or empty.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size() - position_; }
  [[nodiscard]] std::size_t position() const noexcept { return position_; }

  template <typename T>
  requires std::is_integral_v<T> T get()
  noexcept {
    T value{};
    if (!take(sizeof(T))) return value;
    std::memcpy(&value, bytes_.data() + position_ - sizeof(T), sizeof(T));
    return value;
  }
  // The view lives as long as the bytes.
  std::string_view get_string() noexcept {
    const auto length = get<std::uint16_t>();
    if (!take(length)) return {};
    return {reinterpret_cast<const char*>(bytes_.data()) + position_ - length, length};
  }

  // The same.
  std::span<const std::byte> get_bytes(std::size_t length) noexcept {
    if (!take(length)) return {};
    return bytes_.subspan(position_ - length, length);
  }

 private:
  bool take(std::size_t count) noexcept {
    if (!ok_ || bytes_.size() - position_ < count) {
      ok_ = false;
      return false;
    }
    position_ += count;
    return true;
  }

  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace handback
