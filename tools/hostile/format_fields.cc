#include "hostile/format_fields.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <string_view>

namespace hostile {
namespace {

constexpr std::uint64_t piece_bytes = block_bytes - header_bytes;
constexpr std::uint64_t magic = 0x626d4248;
constexpr std::uint64_t at_type = 4;
constexpr std::uint64_t at_generation = 32;
constexpr std::uint64_t at_sequence = 40;
constexpr std::uint64_t at_payload_bytes = 48;
constexpr std::uint64_t at_checksum = 52;

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) {
  auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
  return ~crc32_iscsi(data, static_cast<int>(bytes.size()), ~before);
}

std::uint32_t checksum(std::span<const std::byte> blocks) {
  constexpr std::array<std::byte, 4> zero{};
  const std::uint32_t crc = crc32c(zero, crc32c(blocks.first(at_checksum)));
  return crc32c(blocks.subspan(at_checksum + 4), crc);
}

std::uint64_t blocks_of(std::uint64_t payload) {
  return (header_bytes + payload + block_bytes - 1) / block_bytes;
}

// Walks over one structure and writes its fields down.
class Walk {
 public:
  // `place`: where a byte of the payload lies in the image; `sealed`: under which block's checksum.
  using Place = std::function<std::uint64_t(std::uint64_t payload_offset)>;

  Walk(std::span<const std::byte> image, std::vector<Field>& fields, const char* structure,
       Place place)
      : image_(image), fields_(fields), structure_(structure), place_(std::move(place)) {}

  void structure(const char* name) { structure_ = name; }

  std::uint64_t take(const char* name, std::uint32_t bytes) {
    std::uint64_t value = 0;
    for (std::uint32_t i = 0; i < bytes && i < 8; ++i)
      value |= std::uint64_t{static_cast<std::uint8_t>(image_[place_(at_ + i)])} << (8 * i);
    note(name, bytes);
    return value;
  }
  void string(const char* length_name, const char* name) {
    const auto length = static_cast<std::uint32_t>(take(length_name, 2));
    note(name, length);
  }
  [[nodiscard]] std::uint64_t at() const { return at_; }

 private:
  // One that lies in two blocks is left out: there are others of its kind.
  void note(const char* name, std::uint32_t bytes) {
    const std::uint64_t first = place_(at_);
    if (bytes != 0 && place_(at_ + bytes - 1) == first + bytes - 1)
      fields_.push_back({first, bytes, structure_, name, sealed_ ? *sealed_ : first / block_bytes});
    at_ += bytes;
  }

 public:
  const std::uint64_t* sealed_ = nullptr;

 private:
  std::span<const std::byte> image_;
  std::vector<Field>& fields_;
  const char* structure_;
  Place place_;
  std::uint64_t at_ = 0;
};

void header_fields(std::vector<Field>& fields, const char* structure, std::uint64_t block) {
  struct Part {
    std::uint64_t at;
    std::uint32_t bytes;
    const char* name;
  };
  constexpr std::array<Part, 10> parts{{{0, 4, "magic"},
                                        {at_type, 2, "type"},
                                        {6, 2, "reserved"},
                                        {8, 16, "volume_id"},
                                        {24, 8, "address"},
                                        {at_generation, 8, "generation"},
                                        {at_sequence, 8, "sequence"},
                                        {at_payload_bytes, 4, "payload_bytes"},
                                        {at_checksum, 4, "checksum"},
                                        {56, 8, "reserved"}}};
  for (const Part& part : parts)
    fields.push_back({block * block_bytes + part.at, part.bytes, structure, part.name, block});
}

// As block 0 says.
std::uint64_t features(std::span<const std::byte> image) {
  return number_at(image, header_bytes + 8);
}
bool has_grown(std::span<const std::byte> image) {
  return (features(image) & 1) != 0;
}
bool has_checksums(std::span<const std::byte> image) {
  return (features(image) & 2) != 0;
}

void superblock_fields(std::span<const std::byte> image, std::vector<Field>& fields,
                       std::uint64_t block) {
  header_fields(fields, "superblock", block);
  Walk walk(image, fields, "superblock",
            [=](std::uint64_t at) { return block * block_bytes + header_bytes + at; });
  walk.take("version_major", 2);
  walk.take("version_minor", 2);
  walk.take("fs_block_bytes", 4);
  walk.take("incompatible_features", 8);
  for (const char* name : {"total_blocks", "log_start", "log_blocks", "slot_start[0]",
                           "slot_start[1]", "slot_blocks", "data_start", "data_end", "created_ns"})
    walk.take(name, 8);
  walk.string("label length", "label");
  if (has_grown(image)) walk.take("formatted_blocks", 8);
}

void root_fields(std::span<const std::byte> image, std::vector<Field>& fields,
                 std::uint64_t block) {
  header_fields(fields, "root", block);
  Walk walk(image, fields, "root",
            [=](std::uint64_t at) { return block * block_bytes + header_bytes + at; });
  walk.take("slot", 4);
  for (const char* name : {"checkpoint_bytes", "log_position", "log_sequence", "next_write_id"})
    walk.take(name, 8);
  walk.take("oldest_minor", 2);
}

void checkpoint_fields(std::span<const std::byte> image, std::vector<Field>& fields,
                       std::uint64_t start, std::uint64_t bytes) {
  for (std::uint64_t i = 0; i * piece_bytes < bytes; ++i)
    header_fields(fields, "checkpoint", start + i);
  Walk walk(image, fields, "checkpoint", [=](std::uint64_t at) {
    return (start + at / piece_bytes) * block_bytes + header_bytes + at % piece_bytes;
  });
  walk.take("next_ino", 8);
  const std::uint64_t inodes = walk.take("inode_count", 8);
  for (std::uint64_t i = 0; i < inodes && walk.at() < bytes; ++i) {
    walk.structure("inode");
    walk.take("ino", 8);
    const bool directory = walk.take("type", 1) == 1;
    walk.take("nlink", 4);
    walk.take(directory ? "size_bytes of a directory" : "size_bytes", 8);
    walk.take("mtime_ns", 8);
    walk.take("flags", 1);
    const std::uint64_t extents = walk.take("extent_count", 4);
    if (directory) {
      walk.structure("directory");
      const std::uint64_t entries = walk.take("entry_count", 4);
      for (std::uint64_t entry = 0; entry < entries && walk.at() < bytes; ++entry) {
        walk.take("ino", 8);
        walk.string("name length", "name");
      }
      continue;
    }
    walk.structure("extent");
    for (std::uint64_t extent = 0; extent < extents && walk.at() < bytes; ++extent) {
      walk.take("offset", 8);
      walk.take("addr", 8);
      walk.take("count", 4);
    }
  }
  if (!has_checksums(image)) return;
  walk.structure("checkpoint");
  const std::uint64_t stale = walk.take("stale_count", 8);
  for (std::uint64_t i = 0; i < stale && walk.at() < bytes; ++i)
    walk.take("stale page", 8);
}

// Of a volume of one page, which is read if it is not stale and some data was written.
void page_fields(std::span<const std::byte> image, std::vector<Field>& fields) {
  const std::uint64_t block = number_at(image, header_bytes + 72 - 8) - 1;
  if (number_at(image, block * block_bytes, 4) != magic) return;
  header_fields(fields, "checksum page", block);
  Walk walk(image, fields, "checksum page",
            [=](std::uint64_t at) { return block * block_bytes + header_bytes + at; });
  walk.take("checksum[k]", 4);
}

void change_fields(Walk& walk) {
  enum : std::uint64_t {
    create = 1,
    remove_name,
    rename,
    set_size,
    map,
    set_mtime,
    write,
    link,
    unmap,
    grow,
    overwrite
  };
  const auto numbers = [&](std::initializer_list<const char*> names) {
    for (const char* name : names)
      walk.take(name, 8);
  };
  switch (walk.take("kind", 1)) {
    case create:
      numbers({"parent", "ino"});
      walk.take("type", 1);
      walk.take("mtime_ns", 8);
      walk.string("name length", "name");
      break;
    case remove_name:
      numbers({"parent", "mtime_ns"});
      walk.string("name length", "name");
      break;
    case rename:
      numbers({"parent", "parent_to", "mtime_ns"});
      walk.string("name length", "name");
      walk.string("name_to length", "name_to");
      break;
    case set_size:
    case grow:
      numbers({"ino", "size_bytes", "mtime_ns"});
      break;
    case map:
      numbers({"ino", "offset", "addr"});
      walk.take("count", 4);
      walk.take("unwritten", 1);
      break;
    case set_mtime:
      numbers({"ino", "mtime_ns"});
      break;
    case write: {
      numbers({"ino", "write_id", "required_end", "end", "mtime_ns"});
      const std::uint64_t pieces = walk.take("piece_count", 2);
      for (std::uint64_t piece = 0; piece < pieces; ++piece) {
        numbers({"offset", "addr"});
        walk.take("length", 4);
        walk.take("crc", 4);
        walk.take("maps", 1);
      }
      break;
    }
    case unmap:
      numbers({"ino", "offset", "count"});
      break;
    case overwrite:
      numbers({"page"});
      break;
    case link:
      numbers({"parent", "ino", "mtime_ns"});
      walk.string("name length", "name");
      break;
    default:
      break;
  }
}

void record_fields(std::span<const std::byte> image, std::vector<Field>& fields,
                   std::uint64_t block) {
  header_fields(fields, "log", block);
  Walk walk(image, fields, "log",
            [=](std::uint64_t at) { return block * block_bytes + header_bytes + at; });
  walk.sealed_ = &block;
  const std::uint64_t changes = walk.take("change_count", 4);
  walk.take("confirmed", 8);
  const std::uint64_t voids = walk.take("void_count", 4);
  for (std::uint64_t i = 0; i < voids; ++i)
    walk.take("voids", 8);
  walk.structure("change");
  for (std::uint64_t i = 0; i < changes; ++i)
    change_fields(walk);
}

void log_fields(std::span<const std::byte> image, std::vector<Field>& fields, std::uint64_t root) {
  const std::uint64_t start = number_at(image, header_bytes + 24);
  const std::uint64_t blocks = number_at(image, header_bytes + 32);
  const std::uint64_t payload = root * block_bytes + header_bytes;
  std::uint64_t position = number_at(image, payload + 12);
  std::uint64_t sequence = number_at(image, payload + 20);
  const auto stands_at = [&](std::uint64_t index) {
    const std::uint64_t at = (start + index) * block_bytes;
    if (number_at(image, at, 4) != magic || number_at(image, at + at_type, 2) != 4 ||
        number_at(image, at + at_sequence) != sequence) {
      return false;
    }
    const std::uint64_t length =
        blocks_of(number_at(image, at + at_payload_bytes, 4)) * block_bytes;
    return at + length <= image.size() &&
           checksum(image.subspan(at, length)) == number_at(image, at + at_checksum, 4);
  };
  for (;;) {
    std::uint64_t index = position % blocks;
    if (!stands_at(index)) {
      if (index == 0 || !stands_at(0)) return;
      position += blocks - index;
      index = 0;
    }
    record_fields(image, fields, start + index);
    position += blocks_of(number_at(image, (start + index) * block_bytes + at_payload_bytes, 4));
    ++sequence;
  }
}

}  // namespace

std::uint64_t number_at(std::span<const std::byte> image, std::uint64_t at, unsigned bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, image.data() + at, bytes);
  return value;
}

void put_number(std::span<std::byte> image, std::uint64_t at, std::uint64_t value, unsigned bytes) {
  std::memcpy(image.data() + at, &value, bytes);
}

void seal(std::span<std::byte> image, std::uint64_t block) {
  const std::uint64_t at = block * block_bytes;
  if (at + block_bytes > image.size() || number_at(image, at, 4) != magic) return;
  const std::uint64_t length = blocks_of(number_at(image, at + at_payload_bytes, 4)) * block_bytes;
  if (at + length > image.size()) return;
  put_number(image, at + at_checksum, checksum(image.subspan(at, length)), 4);
}

std::vector<Field> fields_of(std::span<const std::byte> image) {
  std::vector<Field> fields;
  superblock_fields(image, fields, 0);
  superblock_fields(image, fields, image.size() / block_bytes - 1);
  root_fields(image, fields, 1);
  root_fields(image, fields, 2);
  const auto generation = [&](std::uint64_t root) {
    return number_at(image, root * block_bytes + at_generation);
  };
  const std::uint64_t root = generation(1) >= generation(2) ? 1 : 2;
  const std::uint64_t payload = root * block_bytes + header_bytes;
  const std::uint64_t slot = number_at(image, payload, 4);
  checkpoint_fields(image, fields, number_at(image, header_bytes + 40 + 8 * slot),
                    number_at(image, payload + 4));
  const std::size_t before = fields.size();
  log_fields(image, fields, root);
  const bool stale = std::any_of(fields.begin(), fields.end(), [](const Field& field) {
    return std::string_view(field.name) == "stale page";
  });
  if (has_checksums(image) && fields.size() == before && !stale) page_fields(image, fields);
  return fields;
}

}  // namespace hostile
