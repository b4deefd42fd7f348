// The log: records with any payload, in a row, with headers and checksums that fit.
// Input: for each record its length (u16), then its payload.
#include <algorithm>

#include "fuzz/image_under_test.h"
#include "hostile/format_fields.h"

namespace fuzz {
namespace {

using hostile::block_bytes;
using hostile::header_bytes;

struct Place {
  std::uint64_t log_start;
  std::uint64_t log_blocks;
  std::uint64_t position;
  std::uint64_t sequence;
};

Place place_of(std::span<const std::byte> image) {
  constexpr std::uint64_t root = block_bytes + header_bytes;
  return {hostile::number_at(image, header_bytes + 24),
          hostile::number_at(image, header_bytes + 32), hostile::number_at(image, root + 12),
          hostile::number_at(image, root + 20)};
}

}  // namespace

void run(std::span<const std::uint8_t> input) {
  static hostile::ImageDevice device(base_image("logged").bytes);
  const Place place = place_of(device.bytes());
  Reader in(input);
  std::uint64_t index = place.position % place.log_blocks;
  // Of the image's own records none is left.
  const auto log = device.change(place.log_start * block_bytes, place.log_blocks * block_bytes);
  std::fill(log.begin(), log.end(), std::byte{0});
  for (std::uint64_t sequence = place.sequence; !in.empty(); ++sequence) {
    const std::uint64_t length = in.number(2);
    const std::uint64_t blocks = (header_bytes + length + block_bytes - 1) / block_bytes;
    if (index + blocks > place.log_blocks) break;
    const auto payload = in.take(length);
    const std::uint64_t at = index * block_bytes;
    const auto header = device.bytes().subspan(0, header_bytes);
    std::copy(header.begin(), header.end(), log.begin() + static_cast<std::ptrdiff_t>(at));
    hostile::put_number(log, at + 4, 4, 2);
    hostile::put_number(log, at + 24, place.log_start + index);
    hostile::put_number(log, at + 40, sequence);
    hostile::put_number(log, at + 48, length, 4);
    std::transform(payload.begin(), payload.end(),
                   log.begin() + static_cast<std::ptrdiff_t>(at + header_bytes),
                   [](std::uint8_t byte) { return std::byte{byte}; });
    device.seal(place.log_start + index);
    index += blocks;
  }
  judge_image(device);
}

// The records of volumes that were used.
std::vector<Input> seeds() {
  std::vector<Input> list{{}};
  for (const char* name : {"logged", "linked", "preallocated", "unconfirmed"}) {
    const auto& bytes = base_image(name).bytes;
    const Place place = place_of(bytes);
    Input input;
    std::uint64_t index = place.position % place.log_blocks;
    for (std::uint64_t sequence = place.sequence;; ++sequence) {
      const std::uint64_t at = (place.log_start + index) * block_bytes;
      if (index == place.log_blocks || hostile::number_at(bytes, at + 40) != sequence) break;
      const std::uint64_t length = hostile::number_at(bytes, at + 48, 4);
      input.push_back(static_cast<std::uint8_t>(length));
      input.push_back(static_cast<std::uint8_t>(length >> 8));
      for (std::uint64_t i = 0; i < length; ++i)
        input.push_back(static_cast<std::uint8_t>(bytes[at + header_bytes + i]));
      list.push_back(input);
      index += (header_bytes + length + block_bytes - 1) / block_bytes;
    }
  }
  return list;
}

}  // namespace fuzz
