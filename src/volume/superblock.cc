#include "volume/superblock.h"

#include <fmt/format.h>

#include <handback/volume.h>
#include <algorithm>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/planted_bug.h"
#include "volume/meta_block.h"

namespace handback {
namespace {

void seal_payload(std::span<std::byte> block, std::span<const std::byte> payload,
                  MetaHeader header) {
  HB_ASSERT(block.size() == fs_block && payload.size() <= meta_payload_bytes_max,
            "a superblock and a root are one block each");
  std::fill(block.begin(), block.end(), std::byte{0});
  std::copy(payload.begin(), payload.end(), block.begin() + meta_header_bytes);
  header.payload_bytes = static_cast<std::uint32_t>(payload.size());
  meta_seal(block, header);
}

// The layout that the superblock claims is taken only if it is the one this format prescribes:
// every later bound is derived from it.
std::string layout_problem(const Superblock& superblock) {
  const Layout& layout = superblock.layout;
  if (layout.total_blocks < volume_size_bytes_min / fs_block)
    return "total_blocks is below the minimum";
  if (layout.total_blocks > volume_size_bytes_max / fs_block)
    return "total_blocks is beyond the maximum";
  const bool checksums = (superblock.incompatible_features & feature_data_checksums) != 0;
  std::uint64_t formatted = layout.total_blocks;
  if ((superblock.incompatible_features & feature_grown) != 0) {
    if (checksums) return "incompatible_features: a volume with data checksums cannot have grown";
    formatted = superblock.formatted_blocks;
    if (formatted < volume_size_bytes_min / fs_block || formatted >= layout.total_blocks)
      return "formatted_blocks is out of bounds";
  }
  const Layout right = checksums ? layout_for(layout.total_blocks, true)
                                 : layout_grown(formatted, layout.total_blocks);
  if (layout != right && !planted(PlantedBug::superblock_layout_unchecked))
    return "the areas are not where their sizes put them";
  return {};
}

}  // namespace

void superblock_encode(const Superblock& superblock, std::uint64_t address,
                       std::span<std::byte> block) {
  std::vector<std::byte> payload;
  ByteWriter out(payload);
  out.put(superblock.version_major);
  out.put(superblock.version_minor);
  out.put(superblock.fs_block_bytes);
  out.put(superblock.incompatible_features);
  out.put(superblock.layout.total_blocks);
  out.put(superblock.layout.log_start);
  out.put(superblock.layout.log_blocks);
  out.put(superblock.layout.slot_start[0]);
  out.put(superblock.layout.slot_start[1]);
  out.put(superblock.layout.slot_blocks);
  out.put(superblock.layout.data_start);
  out.put(superblock.layout.data_end);
  out.put(superblock.created_ns);
  out.put_string(superblock.label);
  if ((superblock.incompatible_features & feature_grown) != 0) out.put(superblock.formatted_blocks);
  seal_payload(
      block, payload,
      MetaHeader{
          .type = MetaType::superblock, .volume_id = superblock.volume_id, .address = address});
}

Result<Superblock> superblock_decode(std::span<const std::byte> block, std::uint64_t address) {
  MetaHeader header;
  const MetaFault fault = meta_open(block, MetaType::superblock, address, nullptr, &header);
  if (fault == MetaFault::magic) {
    return fail(Errc::invalid, fmt::format("block {} holds no Handback superblock", address));
  }
  if (fault != MetaFault::none) {
    return fail(Errc::damaged, fmt::format("superblock (block {}): {}", address, to_string(fault)));
  }
  Superblock superblock;
  superblock.volume_id = header.volume_id;
  ByteReader in(meta_payload(block, header));
  superblock.version_major = in.get<std::uint16_t>();
  superblock.version_minor = in.get<std::uint16_t>();
  superblock.fs_block_bytes = in.get<std::uint32_t>();
  superblock.incompatible_features = in.get<std::uint64_t>();
  if (in.ok() && superblock.version_major < format_version_major) {
    return fail(
        Errc::version,
        fmt::format("the volume has the older format {}.{}, which this program does not read; "
                    "copy its files out with the version that made it",
                    superblock.version_major, superblock.version_minor));
  }
  if (in.ok() && (superblock.version_major != format_version_major ||
                  (superblock.incompatible_features & ~features_known) != 0)) {
    return fail(
        Errc::version,
        fmt::format(
            "the volume has format {}.{} with incompatible features {:#x}; this program knows "
            "format {}.{}; use a newer Handback",
            superblock.version_major, superblock.version_minor, superblock.incompatible_features,
            format_version_major, format_version_minor));
  }
  Layout& layout = superblock.layout;
  layout.total_blocks = in.get<std::uint64_t>();
  layout.log_start = in.get<std::uint64_t>();
  layout.log_blocks = in.get<std::uint64_t>();
  layout.slot_start[0] = in.get<std::uint64_t>();
  layout.slot_start[1] = in.get<std::uint64_t>();
  layout.slot_blocks = in.get<std::uint64_t>();
  layout.data_start = in.get<std::uint64_t>();
  layout.data_end = in.get<std::uint64_t>();
  layout.backup_superblock = layout.total_blocks - 1;
  if ((superblock.incompatible_features & feature_data_checksums) != 0) {
    layout.checksum_start = layout.slot_start[1] + layout.slot_blocks;
    layout.checksum_pages = layout.data_start - layout.checksum_start;
  }
  superblock.created_ns = in.get<std::int64_t>();
  superblock.label = in.get_string();
  if ((superblock.incompatible_features & feature_grown) != 0)
    superblock.formatted_blocks = in.get<std::uint64_t>();
  if (!in.ok()) {
    return fail(Errc::damaged,
                fmt::format("superblock (block {}): too short for its fields", address));
  }
  if (superblock.fs_block_bytes != fs_block) {
    return fail(Errc::damaged, fmt::format("superblock (block {}): fs_block_bytes is {}, not {}",
                                           address, superblock.fs_block_bytes, fs_block));
  }
  if (const std::string problem = layout_problem(superblock); !problem.empty()) {
    return fail(Errc::damaged, fmt::format("superblock (block {}): {}", address, problem));
  }
  return superblock;
}

void root_encode(const Root& root, const VolumeId& volume_id, std::uint64_t address,
                 std::span<std::byte> block) {
  std::vector<std::byte> payload;
  ByteWriter out(payload);
  out.put(root.slot);
  out.put(root.checkpoint_bytes);
  out.put(root.log_position);
  out.put(root.log_sequence);
  out.put(root.next_write_id);
  out.put(root.oldest_minor);
  seal_payload(block, payload,
               MetaHeader{.type = MetaType::root,
                          .volume_id = volume_id,
                          .address = address,
                          .generation = root.generation});
}

Result<Root> root_decode(std::span<const std::byte> block, const Superblock& superblock,
                         std::uint64_t address) {
  MetaHeader header;
  const MetaFault fault = meta_open(block, MetaType::root, address, &superblock.volume_id, &header);
  if (fault != MetaFault::none) {
    return fail(Errc::damaged, fmt::format("root (block {}): {}", address, to_string(fault)));
  }
  Root root;
  root.generation = header.generation;
  ByteReader in(meta_payload(block, header));
  root.slot = in.get<std::uint32_t>();
  root.checkpoint_bytes = in.get<std::uint64_t>();
  root.log_position = in.get<std::uint64_t>();
  root.log_sequence = in.get<std::uint64_t>();
  root.next_write_id = in.get<std::uint64_t>();
  root.oldest_minor = in.get<std::uint16_t>();
  const auto damaged = [&](std::string_view field) {
    return fail(Errc::damaged, fmt::format("root (block {}): {} is out of bounds", address, field));
  };
  // Leaves room for everything that can ever be numbered after it.
  constexpr std::uint64_t sequence_max = std::uint64_t{1} << 62;
  if (!in.ok()) return damaged("the payload's length");
  if (root.slot > 1 && !planted(PlantedBug::root_slot_unchecked)) return damaged("slot");
  if (root.generation == 0 || root.generation > sequence_max) return damaged("generation");
  if (root.checkpoint_bytes > superblock.layout.slot_blocks * meta_payload_bytes_max) {
    return damaged("checkpoint_bytes");
  }
  if (root.log_position > sequence_max) return damaged("log_position");
  if (root.log_sequence == 0 || root.log_sequence > sequence_max) return damaged("log_sequence");
  if (root.next_write_id == 0 || root.next_write_id > sequence_max) return damaged("next_write_id");
  return root;
}

std::string volume_id_text(const VolumeId& id) {
  std::string text;
  for (std::size_t i = 0; i < id.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned>(id[i]));
  }
  return text;
}

}  // namespace handback
