#include "hostile/mutate.h"

#include <algorithm>
#include <cstring>

namespace hostile {
namespace {

bool seals(std::mt19937_64& random) {
  return random() % 10 != 0;
}

std::uint64_t other_value(std::uint64_t value, std::mt19937_64& random) {
  switch (random() % 10) {
    case 0:
      return 0;
    case 1:
      return random() % 8;
    case 2:
      return value + 1;
    case 3:
      return value - 1;
    case 4:
      return value ^ (std::uint64_t{1} << (random() % 64));
    case 5:
      return ~std::uint64_t{0};
    case 6:
      return std::uint64_t{1} << (random() % 64);
    case 7:
      return random() % 2048;
    case 8:
      return (std::uint64_t{1} << (random() % 64)) - 1;
    default:
      return random();
  }
}

}  // namespace

Target::Target(const BaseImage& base) {
  std::map<std::string, std::vector<Field>> kinds;
  for (const Field& field : fields_of(base.bytes)) {
    if (field.bytes != 0) kinds[std::string(field.structure) + field.name].push_back(field);
  }
  for (auto& [name, fields] : kinds)
    kinds_.push_back(std::move(fields));
  for (std::uint64_t block = 0; block < base.bytes.size() / block_bytes; ++block) {
    if (std::memcmp(base.bytes.data() + block * block_bytes, "HBmb", 4) == 0)
      blocks_.push_back(block);
  }
}

void Target::damage(ImageDevice& device, std::mt19937_64& random) const {
  for (std::uint64_t hits = 1 + random() % 4; hits != 0; --hits)
    hit(device, random);
}

void Target::hit(ImageDevice& device, std::mt19937_64& random) const {
  const std::uint64_t what = random() % 16;
  if (what < 12) {
    hit_field(device, random);
  } else if (what < 14) {
    hit_bytes(device, random);
  } else {
    move_block(device, random);
  }
}

void Target::hit_field(ImageDevice& device, std::mt19937_64& random) const {
  const std::vector<Field>& fields = kinds_[random() % kinds_.size()];
  const Field& field = fields[random() % fields.size()];
  const unsigned bytes = std::min<unsigned>(field.bytes, 8);
  // Of another of its kind: so names, inodes and blocks come to be there twice.
  std::uint64_t value = number_at(device.bytes(), field.at, bytes);
  if (random() % 4 == 0) {
    const Field& other = fields[random() % fields.size()];
    value = number_at(device.bytes(), other.at, std::min(bytes, other.bytes));
  } else {
    value = other_value(value, random);
  }
  put_number(device.change(field.at, bytes), 0, value, bytes);
  if (seals(random)) device.seal(field.sealed);
}

void Target::hit_bytes(ImageDevice& device, std::mt19937_64& random) const {
  const std::uint64_t block = blocks_[random() % blocks_.size()];
  const std::uint64_t used = std::min(
      block_bytes, header_bytes + number_at(device.bytes(), block * block_bytes + 48, 4) + 8);
  const std::uint64_t at = random() % used;
  const std::uint64_t length = std::min<std::uint64_t>(1 + random() % 16, block_bytes - at);
  const auto bytes = device.change(block * block_bytes + at, length);
  for (std::byte& byte : bytes) {
    switch (random() % 3) {
      case 0:
        byte ^= static_cast<std::byte>(1U << (random() % 8));
        break;
      case 1:
        byte = static_cast<std::byte>(random());
        break;
      default:
        byte = std::byte{0xff};
    }
  }
  if (seals(random)) device.seal(block);
}

// A block that went to another place, or stayed as it was long ago, or was erased.
void Target::move_block(ImageDevice& device, std::mt19937_64& random) const {
  const std::uint64_t from = blocks_[random() % blocks_.size()];
  const std::uint64_t to = random() % 2 == 0 ? blocks_[random() % blocks_.size()]
                                             : random() % (device.bytes().size() / block_bytes);
  const auto bytes = device.change(to * block_bytes, block_bytes);
  if (random() % 4 == 0) {
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    return;
  }
  std::memmove(bytes.data(), device.bytes().data() + from * block_bytes, block_bytes);
  // Mostly with the address that it has there, so that it can be taken for what belongs there.
  if (random() % 4 != 0) put_number(bytes, 24, to);
  if (seals(random)) device.seal(to);
}

}  // namespace hostile
