#include "volume/meta_block.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/planted_bug.h"

namespace handback {
namespace {

// Offsets of the header's fields; docs/format.md, "Metadata header".
constexpr std::size_t at_magic = 0;
constexpr std::size_t at_type = 4;
constexpr std::size_t at_volume_id = 8;
constexpr std::size_t at_address = 24;
constexpr std::size_t at_generation = 32;
constexpr std::size_t at_sequence = 40;
constexpr std::size_t at_payload_bytes = 48;
constexpr std::size_t at_checksum = 52;

template <typename T>
void store(std::span<std::byte> bytes, std::size_t at, T value) noexcept {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}
template <typename T>
T load(std::span<const std::byte> bytes, std::size_t at) noexcept {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// Over everything, as if the checksum field were zero.
std::uint32_t checksum_of(std::span<const std::byte> blocks) noexcept {
  constexpr std::array<std::byte, sizeof(std::uint32_t)> zero{};
  std::uint32_t crc = crc32c(blocks.first(at_checksum));
  crc = crc32c(zero, crc);
  return crc32c(blocks.subspan(at_checksum + zero.size()), crc);
}

}  // namespace

std::string_view to_string(MetaFault fault) noexcept {
  switch (fault) {
    case MetaFault::none:
      return "none";
    case MetaFault::magic:
      return "no metadata magic";
    case MetaFault::type:
      return "another kind of metadata";
    case MetaFault::address:
      return "written for another block";
    case MetaFault::volume_id:
      return "belongs to another volume";
    case MetaFault::length:
      return "impossible length";
    case MetaFault::checksum:
      return "checksum mismatch";
  }
  return "unknown";
}

void meta_seal(std::span<std::byte> blocks, const MetaHeader& header) noexcept {
  HB_ASSERT(
      blocks.size() % fs_block == 0 && meta_header_bytes + header.payload_bytes <= blocks.size(),
      "metadata is sealed in whole blocks that hold its payload");
  std::fill_n(blocks.begin(), meta_header_bytes, std::byte{0});
  store(blocks, at_magic, meta_magic);
  store(blocks, at_type, static_cast<std::uint16_t>(header.type));
  std::memcpy(blocks.data() + at_volume_id, header.volume_id.data(), header.volume_id.size());
  store(blocks, at_address, header.address);
  store(blocks, at_generation, header.generation);
  store(blocks, at_sequence, header.sequence);
  store(blocks, at_payload_bytes, header.payload_bytes);
  store(blocks, at_checksum, checksum_of(blocks));
}

MetaFault meta_peek(std::span<const std::byte> block, MetaType type, std::uint64_t address,
                    MetaHeader* header) noexcept {
  if (block.size() < meta_header_bytes || load<std::uint32_t>(block, at_magic) != meta_magic) {
    return MetaFault::magic;
  }
  header->type = static_cast<MetaType>(load<std::uint16_t>(block, at_type));
  std::memcpy(header->volume_id.data(), block.data() + at_volume_id, header->volume_id.size());
  header->address = load<std::uint64_t>(block, at_address);
  header->generation = load<std::uint64_t>(block, at_generation);
  header->sequence = load<std::uint64_t>(block, at_sequence);
  header->payload_bytes = load<std::uint32_t>(block, at_payload_bytes);
  if (header->type != type) return MetaFault::type;
  if (header->address != address && !planted(PlantedBug::meta_address_unchecked))
    return MetaFault::address;
  return MetaFault::none;
}

MetaFault meta_open(std::span<const std::byte> blocks, MetaType type, std::uint64_t address,
                    const VolumeId* volume_id, MetaHeader* header) noexcept {
  const MetaFault peeked = meta_peek(blocks, type, address, header);
  if (peeked != MetaFault::none) return peeked;
  if (volume_id != nullptr && header->volume_id != *volume_id &&
      !planted(PlantedBug::meta_volume_id_unchecked))
    return MetaFault::volume_id;
  const std::uint64_t bytes = meta_blocks(header->payload_bytes) * fs_block;
  if (bytes > blocks.size()) return MetaFault::length;
  if (checksum_of(blocks.first(bytes)) != load<std::uint32_t>(blocks, at_checksum) &&
      !planted(PlantedBug::meta_checksum_unchecked)) {
    return MetaFault::checksum;
  }
  return MetaFault::none;
}

}  // namespace handback
