// The payloads of both superblocks and of both roots, with checksums that fit.
// Input: which of them (a byte: bit i is block i of 0, 1, 2, last), then the payload for each.
#include <algorithm>

#include "fuzz/image_under_test.h"
#include "hostile/format_fields.h"

namespace fuzz {
namespace {

constexpr std::uint64_t payload_bytes = 128;

std::vector<std::uint64_t> blocks_of(const hostile::ImageDevice& device) {
  return {0, 1, 2, device.bytes().size() / hostile::block_bytes - 1};
}

}  // namespace

void run(std::span<const std::uint8_t> input) {
  static hostile::ImageDevice device(base_image("logged").bytes);
  Reader in(input);
  const std::uint64_t which = in.number(1);
  for (std::size_t i = 0; i < 4; ++i) {
    if ((which >> i & 1) == 0) continue;
    const std::uint64_t block = blocks_of(device)[i];
    const auto payload = in.take(payload_bytes);
    const auto to =
        device.change(block * hostile::block_bytes + hostile::header_bytes, payload_bytes);
    std::transform(payload.begin(), payload.end(), to.begin(),
                   [](std::uint8_t byte) { return std::byte{byte}; });
    device.seal(block);
  }
  judge_image(device);
}

std::vector<Input> seeds() {
  const hostile::ImageDevice device(base_image("logged").bytes);
  std::vector<Input> list;
  for (unsigned which = 1; which < 16; ++which) {
    Input input{static_cast<std::uint8_t>(which)};
    for (std::size_t i = 0; i < 4; ++i) {
      if ((which >> i & 1) == 0) continue;
      const auto payload = device.bytes().subspan(
          blocks_of(device)[i] * hostile::block_bytes + hostile::header_bytes, payload_bytes);
      for (const std::byte byte : payload)
        input.push_back(static_cast<std::uint8_t>(byte));
    }
    list.push_back(std::move(input));
  }
  return list;
}

}  // namespace fuzz
