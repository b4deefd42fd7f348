#include "zone_file/zone_header.h"

#include <algorithm>
#include <cstring>

namespace examples {
namespace {

constexpr std::uint64_t magic = 0x0100'454e'4f5a'4248;  // "HBZONE\0\1"
constexpr std::size_t checked_bytes = 40;

template <typename Number>
void put(std::span<std::byte> block, std::size_t at, Number number) noexcept {
  for (std::size_t i = 0; i < sizeof number; ++i)
    block[at + i] = static_cast<std::byte>(number >> (8 * i));
}

template <typename Number>
Number get(std::span<const std::byte> block, std::size_t at) noexcept {
  Number number = 0;
  for (std::size_t i = 0; i < sizeof number; ++i)
    number |= static_cast<Number>(std::to_integer<Number>(block[at + i]) << (8 * i));
  return number;
}

std::uint64_t checksum(std::span<const std::byte> bytes) noexcept {
  std::uint64_t sum = 0xcbf2'9ce4'8422'2325;
  for (const std::byte byte : bytes)
    sum = (sum ^ std::to_integer<std::uint64_t>(byte)) * 0x100'0000'01b3;
  return sum;
}

}  // namespace

void encode_zone_header(const ZoneHeader& header, std::span<std::byte> block) noexcept {
  std::fill(block.begin(), block.end(), std::byte{0});
  put(block, 0, magic);
  put(block, 8, header.generation);
  put(block, 16, header.zone_bytes);
  put(block, 24, header.write_pointer);
  put(block, 32, std::uint32_t{header.finished ? 1U : 0U});
  put(block, 36, static_cast<std::uint32_t>(block.size()));
  put(block, checked_bytes, checksum(block.first(checked_bytes)));
}

std::optional<ZoneHeader> decode_zone_header(std::span<const std::byte> block) noexcept {
  if (block.size() < checked_bytes + 8 || get<std::uint64_t>(block, 0) != magic) return {};
  if (get<std::uint64_t>(block, checked_bytes) != checksum(block.first(checked_bytes))) return {};
  const auto state = get<std::uint32_t>(block, 32);
  const ZoneHeader header{.generation = get<std::uint64_t>(block, 8),
                          .zone_bytes = get<std::uint64_t>(block, 16),
                          .write_pointer = get<std::uint64_t>(block, 24),
                          .finished = state == 1};
  if (get<std::uint32_t>(block, 36) != block.size() || state > 1) return {};
  if (header.zone_bytes < block.size() || header.write_pointer > header.zone_bytes - block.size() ||
      header.write_pointer % block.size() != 0) {
    return {};
  }
  return header;
}

}  // namespace examples
