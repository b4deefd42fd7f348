// A whole image: changes of any bytes of its metadata, with checksums that fit or not.
// Input: the kind of base image (u8), then changes: the place among the image's metadata blocks
// (u8), the offset in the block (u16), how many bytes (u8: up to 16, and in bit 7 whether the
// checksum stays), and the bytes.
#include <algorithm>
#include <cstring>
#include <memory>

#include "fuzz/image_under_test.h"
#include "hostile/format_fields.h"

namespace fuzz {
namespace {

using hostile::block_bytes;

struct Kind {
  std::unique_ptr<hostile::ImageDevice> device;
  std::vector<std::uint64_t> blocks;
};

std::vector<Kind>& kinds() {
  static std::vector<Kind> all = [] {
    std::vector<Kind> made;
    for (const hostile::BaseImage& image : hostile::base_images()) {
      Kind kind{std::make_unique<hostile::ImageDevice>(image.bytes), {}};
      for (std::uint64_t block = 0; block < image.bytes.size() / block_bytes; ++block) {
        if (std::memcmp(image.bytes.data() + block * block_bytes, "HBmb", 4) == 0)
          kind.blocks.push_back(block);
      }
      made.push_back(std::move(kind));
    }
    return made;
  }();
  return all;
}

}  // namespace

void run(std::span<const std::uint8_t> input) {
  Reader in(input);
  Kind& kind = kinds()[in.number(1) % kinds().size()];
  while (!in.empty()) {
    const std::uint64_t block = kind.blocks[in.number(1) % kind.blocks.size()];
    const std::uint64_t offset = in.number(2) % block_bytes;
    const std::uint64_t how = in.number(1);
    const auto bytes = in.take(std::min<std::uint64_t>(1 + how % 16, block_bytes - offset));
    const auto to = kind.device->change(block * block_bytes + offset, bytes.size());
    std::transform(bytes.begin(), bytes.end(), to.begin(),
                   [](std::uint8_t byte) { return std::byte{byte}; });
    if ((how & 0x80) == 0) kind.device->seal(block);
  }
  judge_image(*kind.device);
}

std::vector<Input> seeds() {
  std::vector<Input> list;
  for (std::uint8_t kind = 0; kind < kinds().size(); ++kind) {
    list.push_back({kind});
    for (std::uint8_t block = 0; block < 8; ++block)
      list.push_back(
          {kind, block, static_cast<std::uint8_t>(64 + 8 * block), 0, 7, 1, 0, 0, 0, 0, 0, 0, 0});
  }
  return list;
}

}  // namespace fuzz
