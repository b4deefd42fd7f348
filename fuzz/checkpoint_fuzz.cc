// The payload of a checkpoint, cut into blocks whose headers and checksums fit, and a root that
// names it. Input: the payload.
#include <algorithm>

#include "fuzz/image_under_test.h"
#include "hostile/format_fields.h"

namespace fuzz {
namespace {

using hostile::block_bytes;
using hostile::header_bytes;

constexpr std::uint64_t piece_bytes = block_bytes - header_bytes;
constexpr std::uint64_t pieces_max = 32;

struct Place {
  std::uint64_t start;
  std::uint64_t bytes;
};

Place place_of(std::span<const std::byte> image) {
  constexpr std::uint64_t root = block_bytes + header_bytes;
  return {hostile::number_at(image, header_bytes + 40 + 8 * hostile::number_at(image, root, 4)),
          hostile::number_at(image, root + 4)};
}

}  // namespace

void run(std::span<const std::uint8_t> input) {
  static hostile::ImageDevice device(base_image("closed").bytes);
  const Place place = place_of(device.bytes());
  input = input.first(std::min<std::size_t>(input.size(), piece_bytes * pieces_max));
  for (std::uint64_t i = 0; i * piece_bytes < input.size(); ++i) {
    const auto piece = input.subspan(
        i * piece_bytes, std::min<std::size_t>(piece_bytes, input.size() - i * piece_bytes));
    const std::uint64_t at = (place.start + i) * block_bytes;
    const auto to = device.change(at, block_bytes);
    const auto header = device.bytes().subspan(place.start * block_bytes, header_bytes);
    std::copy(header.begin(), header.end(), to.begin());
    std::fill(to.begin() + header_bytes, to.end(), std::byte{0});
    hostile::put_number(to, 24, place.start + i);
    hostile::put_number(to, 40, i);
    hostile::put_number(to, 48, piece.size(), 4);
    std::transform(piece.begin(), piece.end(), to.begin() + header_bytes,
                   [](std::uint8_t byte) { return std::byte{byte}; });
    device.seal(place.start + i);
  }
  for (const std::uint64_t root : {std::uint64_t{1}, std::uint64_t{2}}) {
    hostile::put_number(device.change(root * block_bytes + header_bytes + 4, 8), 0, input.size());
    device.seal(root);
  }
  judge_image(device);
}

std::vector<Input> seeds() {
  std::vector<Input> list{{}};
  for (const char* name : {"fresh", "closed", "linked", "scattered", "preallocated"}) {
    const auto& bytes = base_image(name).bytes;
    const Place place = place_of(bytes);
    Input input;
    for (std::uint64_t i = 0; i < place.bytes; ++i) {
      const std::uint64_t at = (place.start + i / piece_bytes) * block_bytes + header_bytes;
      input.push_back(static_cast<std::uint8_t>(bytes[at + i % piece_bytes]));
    }
    list.push_back(std::move(input));
  }
  return list;
}

}  // namespace fuzz
