#include "volume/check_header.h"

#include <algorithm>

namespace handback {

std::string_view field_of(MetaFault fault) noexcept {
  switch (fault) {
    case MetaFault::none:
      break;
    case MetaFault::magic:
      return "magic";
    case MetaFault::type:
      return "type";
    case MetaFault::address:
      return "address";
    case MetaFault::volume_id:
      return "volume_id";
    case MetaFault::length:
      return "payload_bytes";
    case MetaFault::checksum:
      return "checksum";
  }
  return "header";
}

void check_header_fields(std::span<const std::byte> blocks, const MetaHeader& header,
                         std::vector<FieldProblem>* problems) {
  constexpr std::size_t at_reserved_short = 6;
  constexpr std::size_t at_reserved_long = 56;
  const auto is_zero = [&](std::size_t at, std::size_t length) {
    const auto bytes = blocks.subspan(at, length);
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
  };
  if (!is_zero(at_reserved_short, 2) || !is_zero(at_reserved_long, 8))
    problems->push_back({"reserved", "is not zero"});
  const bool numbered = header.type == MetaType::root || header.type == MetaType::checkpoint;
  if (!numbered && header.generation != 0) problems->push_back({"generation", "is not zero"});
  const bool in_order = header.type == MetaType::log_record ||
                        header.type == MetaType::checkpoint ||
                        header.type == MetaType::checksum_page;
  if (!in_order && header.sequence != 0) problems->push_back({"sequence", "is not zero"});
  const std::size_t end = meta_header_bytes + header.payload_bytes;
  const std::size_t size = meta_blocks(header.payload_bytes) * fs_block;
  if (!is_zero(end, size - end))
    problems->push_back({"payload_bytes", "bytes behind the payload are not zero"});
}

}  // namespace handback
