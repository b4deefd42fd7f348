// The checkpoint that the root names: its blocks, then every entry in them.
#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/planted_bug.h"
#include "volume/check.h"
#include "volume/check_header.h"
#include "volume/snapshot.h"

namespace handback {
namespace {

constexpr std::uint64_t extent_unwritten_bit = std::uint64_t{1} << 63;
constexpr std::uint64_t file_blocks_max = file_size_bytes_max / fs_block;

}  // namespace

CheckedInode* CheckTables::find(std::uint64_t ino) noexcept {
  return const_cast<CheckedInode*>(static_cast<const CheckTables*>(this)->find(ino));
}
const CheckedInode* CheckTables::find(std::uint64_t ino) const noexcept {
  const auto at = std::lower_bound(
      inodes.begin(), inodes.end(), ino,
      [](const CheckedInode& inode, std::uint64_t number) { return inode.ino < number; });
  return at != inodes.end() && at->ino == ino ? &*at : nullptr;
}

// --- blocks ---

Result<void> VolumeCheck::read_checkpoint(std::vector<std::byte>* payload, bool* whole) {
  constexpr std::uint64_t chunk_blocks = 256;
  const std::uint64_t blocks =
      (root_->checkpoint_bytes + meta_payload_bytes_max - 1) / meta_payload_bytes_max;
  const std::uint64_t start = superblock_->layout.slot_start[root_->slot];
  *whole = true;
  AlignedBuffer chunk(std::min(blocks, chunk_blocks) * fs_block);
  for (std::uint64_t first = 0; first < blocks; first += chunk_blocks) {
    const std::uint64_t count = std::min(blocks - first, chunk_blocks);
    if (count * fs_block != chunk.size()) chunk = AlignedBuffer(count * fs_block);
    if (Step step = read(start + first, chunk); !step) return step;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t index = first + i;
      const auto block = std::span<const std::byte>(chunk.span()).subspan(i * fs_block, fs_block);
      MetaHeader header;
      const MetaFault fault =
          meta_open(block, MetaType::checkpoint, start + index, &superblock_->volume_id, &header);
      const auto refused = [&](std::string_view field, std::string problem) {
        *whole = false;
        findings_.refused(start + index, "checkpoint", std::string(field), std::move(problem));
      };
      if (fault != MetaFault::none) {
        refused(field_of(fault), std::string(to_string(fault)));
        continue;
      }
      if (header.generation != root_->generation) {
        refused("generation", fmt::format("is {} instead of {}: a write was lost",
                                          header.generation, root_->generation));
      }
      if (header.sequence != index) {
        refused("sequence",
                fmt::format("is {} instead of {}: a write was lost", header.sequence, index));
      }
      // Pieces are full, but for the last.
      const std::uint64_t length = std::min<std::uint64_t>(
          meta_payload_bytes_max, root_->checkpoint_bytes - index * meta_payload_bytes_max);
      if (header.payload_bytes != length) {
        refused("payload_bytes", fmt::format("is {} instead of {}", header.payload_bytes, length));
      }
      std::vector<FieldProblem> problems;
      check_header_fields(block, header, &problems);
      for (FieldProblem& problem : problems) {
        findings_.noticed(start + index, "checkpoint", std::move(problem.field),
                          std::move(problem.problem), "none; opening does not look at it");
      }
      const auto bytes = meta_payload(block, header);
      if (*whole) payload->insert(payload->end(), bytes.begin(), bytes.end());
    }
  }
  return {};
}

Result<void> VolumeCheck::check_checkpoint() {
  bool whole = false;
  if (Step step = read_checkpoint(&tables_.payload, &whole); !step) return step;
  if (!whole) return {};
  const std::uint64_t start = superblock_->layout.slot_start[root_->slot];
  const std::uint64_t before = findings_.total();
  const std::uint64_t checksum_pages = superblock_->layout.checksum_pages;
  CheckpointParser(tables_, start, checksum_pages, findings_).run();
  // What opening makes of it. Whatever it refuses has been listed; should it ever see more, then
  // that is a finding, too.
  auto metadata = std::make_unique<Metadata>();
  std::vector<std::uint64_t> stale;
  const std::string problem =
      snapshot_decode(tables_.payload, metadata.get(), checksum_pages, &stale);
  if (problem.empty()) {
    metadata_ = std::move(metadata);
  } else if (findings_.total() == before) {
    findings_.refused(start, "checkpoint", "contents", problem);
  }
  return {};
}

// A root is damaged. If it was the newer one, what it named was durable, and the log may hold less.
// If a power cut damaged it while it was written, nothing is lost. Where the checkpoint that it may
// have named says just what was read, it does not matter which.
Result<void> VolumeCheck::look_for_a_newer_checkpoint() {
  if (!damaged_root_ || planted(PlantedBug::repair_ignores_newer_checkpoint)) return {};
  const std::uint64_t start = superblock_->layout.slot_start[1 - root_->slot];
  std::uint64_t generation = 0;
  std::vector<std::byte> payload;
  AlignedBuffer block(fs_block);
  for (std::uint64_t i = 0; i < superblock_->layout.slot_blocks; ++i) {
    if (Step step = read(start + i, block); !step) return step;
    MetaHeader header;
    if (meta_open(block.span(), MetaType::checkpoint, start + i, &superblock_->volume_id,
                  &header) != MetaFault::none ||
        header.generation <= root_->generation || header.sequence != i ||
        (i != 0 && header.generation != generation)) {
      break;
    }
    generation = header.generation;
    const auto bytes = meta_payload(block.span(), header);
    payload.insert(payload.end(), bytes.begin(), bytes.end());
    if (header.payload_bytes != meta_payload_bytes_max) break;
  }
  if (generation == 0) return {};
  if (metadata_ != nullptr) {
    // Which checksum pages are stale is no change that could be lost: the older list and the log
    // call stale all that may be.
    const std::vector<std::byte> same = snapshot_encode(*metadata_);
    const bool whole = same.size() == payload.size() ||
                       (superblock_->layout.checksum_pages != 0 && same.size() < payload.size());
    if (whole && std::equal(same.begin(), same.end(), payload.begin())) return {};
  }
  findings_.noticed(
      root_blocks[*damaged_root_], "root", "generation",
      fmt::format("may have named the checkpoint of generation {} in block {}, newer than the one "
                  "that is used, and not the same",
                  generation, start),
      "if a power cut damaged it, nothing is lost; if it decayed, changes are lost that were "
      "durable");
  return {};
}

// --- entries ---

std::uint64_t CheckpointParser::block_of(std::uint64_t at) const noexcept {
  return first_block_ + at / meta_payload_bytes_max;
}

void CheckpointParser::refused(std::uint64_t at, std::string structure, std::string field,
                               std::string problem) {
  findings_.refused(block_of(at), std::move(structure), std::move(field), std::move(problem));
}

bool CheckpointParser::cut_off(std::uint64_t at, std::string structure, std::string field) {
  findings_.refused(block_of(at), std::move(structure), std::move(field),
                    fmt::format("the bytes end within it (at byte {} of the checkpoint)", at),
                    "what follows cannot be read; the volume cannot be opened; restore it from a "
                    "copy");
  return false;
}

void CheckpointParser::run() {
  ByteReader in(tables_.payload);
  const auto next_ino = in.get<std::uint64_t>();
  const auto inode_count = in.get<std::uint64_t>();
  if (!in.ok()) {
    cut_off(0, "checkpoint", "header");
    return;
  }
  if (next_ino <= root_ino || next_ino >= ino_max)
    refused(0, "checkpoint", "next_ino", fmt::format("is {}, which is out of bounds", next_ino));
  if (inode_count == 0) {
    refused(0, "checkpoint", "inode_count", "is 0: there is no root directory");
    return;
  }
  // Each takes at least this much, so a count that cannot be true is refused before the work.
  if (inode_count > in.remaining() / snapshot_inode_bytes) {
    refused(0, "checkpoint", "inode_count",
            fmt::format("is {}, more than the checkpoint has room for", inode_count));
    return;
  }
  std::uint64_t previous = 0;
  for (std::uint64_t i = 0; i < inode_count; ++i) {
    if (!parse_inode(in, &previous)) return;
  }
  if (checksum_pages_ != 0 && !parse_stale(in)) return;
  if (in.remaining() != 0 && checksum_pages_ != 0) {
    refused(in.position(), "checkpoint", "stale_count",
            fmt::format("is {}, but {} bytes are left over behind the list", tables_.stale.size(),
                        in.remaining()));
    return;
  }
  if (in.remaining() != 0) {
    refused(in.position(), "checkpoint", "inode_count",
            fmt::format("is {}, but {} bytes are left over behind these inodes", inode_count,
                        in.remaining()));
    return;
  }
  if (previous >= next_ino && next_ino > root_ino && next_ino < ino_max) {
    refused(0, "checkpoint", "next_ino",
            fmt::format("is {}, but inode {} exists", next_ino, previous));
  }
  tables_.complete = true;
}

// The list of stale checksum pages.
bool CheckpointParser::parse_stale(ByteReader& in) {
  const std::uint64_t count_at = in.position();
  const auto count = in.get<std::uint64_t>();
  if (!in.ok()) return cut_off(count_at, "checkpoint", "stale_count");
  if (count > in.remaining() / sizeof(std::uint64_t)) {
    refused(count_at, "checkpoint", "stale_count",
            fmt::format("is {}, more than the checkpoint has room for", count));
    return false;
  }
  std::optional<std::uint64_t> previous;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t at = in.position();
    const auto page = in.get<std::uint64_t>();
    if (page >= checksum_pages_) {
      refused(at, "checkpoint", fmt::format("stale page {}", i),
              fmt::format("is {}, but there are {} pages", page, checksum_pages_));
      continue;
    }
    if (previous && page <= *previous) {
      refused(at, "checkpoint", fmt::format("stale page {}", i),
              fmt::format("is {}, not above the one before it, {}", page, *previous));
    }
    previous = page;
    tables_.stale.push_back(page);
  }
  return true;
}

bool CheckpointParser::parse_inode(ByteReader& in, std::uint64_t* previous) {
  CheckedInode inode;
  inode.at = in.position();
  inode.ino = in.get<std::uint64_t>();
  const auto type = in.get<std::uint8_t>();
  inode.nlink = in.get<std::uint32_t>();
  inode.size_bytes = in.get<std::uint64_t>();
  static_cast<void>(in.get<std::int64_t>());
  const auto flags = in.get<std::uint8_t>();
  const auto extent_count = in.get<std::uint32_t>();
  if (!in.ok()) return cut_off(inode.at, "inode", fmt::format("behind inode {}", *previous));
  const auto field = [&](const char* name) { return fmt::format("inode {}, {}", inode.ino, name); };
  if (*previous == 0 && inode.ino != root_ino) {
    refused(inode.at, "inode", field("ino"), "the first inode is not the root directory, 1");
  }
  if (inode.ino <= *previous) {
    refused(inode.at, "inode", field("ino"),
            inode.ino == *previous
                ? std::string("the number is used twice")
                : fmt::format("follows inode {}: numbers do not rise", *previous));
  }
  if (type > static_cast<std::uint8_t>(FileType::directory)) {
    findings_.refused(block_of(inode.at), "inode", field("type"),
                      fmt::format("is {}, which is unknown", type),
                      "what follows cannot be read; the volume cannot be opened; restore it from "
                      "a copy");
    return false;
  }
  inode.directory = type == static_cast<std::uint8_t>(FileType::directory);
  if (inode.ino == root_ino && !inode.directory)
    refused(inode.at, "inode", field("type"), "the root is no directory");
  if (flags != 0)
    refused(inode.at, "inode", field("flags"), fmt::format("are {:#x}, which are unknown", flags));
  if (inode.nlink == 0) refused(inode.at, "inode", field("nlink"), "is 0: an inode without a name");
  if (inode.directory && extent_count != 0) {
    refused(inode.at, "inode", field("extent_count"),
            fmt::format("is {}, but a directory has no extents", extent_count));
  }
  if (!inode.directory && inode.size_bytes > file_size_bytes_max) {
    refused(inode.at, "inode", field("size_bytes"),
            fmt::format("is {}, beyond the largest file", inode.size_bytes));
  }
  // A number out of order cannot be looked up; its entries are still read, and checked one by one.
  const bool listed = inode.ino > *previous;
  if (listed) *previous = inode.ino;
  const bool parsed =
      inode.directory ? parse_entries(in, inode) : parse_extents(in, inode, extent_count);
  if (listed) tables_.inodes.push_back(inode);
  return parsed;
}

bool CheckpointParser::parse_extents(ByteReader& in, const CheckedInode& inode,
                                     std::uint32_t count) {
  if (count > in.remaining() / snapshot_extent_bytes) {
    findings_.refused(
        block_of(inode.at), "inode", fmt::format("inode {}, extent_count", inode.ino),
        fmt::format("is {}, more than the checkpoint has room for", count),
        "what follows cannot be read; the volume cannot be opened; restore it from a copy");
    return false;
  }
  std::uint64_t end = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t at = in.position();
    CheckedExtent extent;
    extent.ino = inode.ino;
    extent.offset = in.get<std::uint64_t>();
    extent.addr = in.get<std::uint64_t>() & ~extent_unwritten_bit;
    extent.count = in.get<std::uint32_t>();
    const auto field = [&](const char* name) {
      return fmt::format("inode {}, extent {}, {}", inode.ino, i, name);
    };
    if (extent.count == 0) {
      refused(at, "extent", field("count"), "is 0");
      continue;
    }
    if (extent.offset >= file_blocks_max || extent.count > file_blocks_max - extent.offset) {
      refused(at, "extent", field("offset"),
              fmt::format("blocks {} to {} lie beyond the largest file", extent.offset,
                          extent.offset + (extent.count - 1)));
      continue;
    }
    if (extent.offset < end) {
      refused(at, "extent", field("offset"),
              fmt::format("is {}, before the end of the extent before it, {}", extent.offset, end));
    }
    end = std::max(end, extent.offset + extent.count);
    tables_.extents.push_back(extent);
  }
  return true;
}

bool CheckpointParser::parse_entries(ByteReader& in, CheckedInode& inode) {
  const std::uint64_t count_at = in.position();
  const auto count = in.get<std::uint32_t>();
  if (!in.ok())
    return cut_off(count_at, "directory", fmt::format("inode {}, entry_count", inode.ino));
  if (count > in.remaining() / snapshot_entry_bytes) {
    findings_.refused(
        block_of(count_at), "directory", fmt::format("inode {}, entry_count", inode.ino),
        fmt::format("is {}, more than the checkpoint has room for", count),
        "what follows cannot be read; the volume cannot be opened; restore it from a copy");
    return false;
  }
  inode.first_entry = static_cast<std::uint32_t>(tables_.entries.size());
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint64_t at = in.position();
    CheckedEntry entry;
    entry.ino = in.get<std::uint64_t>();
    const std::string_view name = in.get_string();
    if (!in.ok()) return cut_off(at, "directory", fmt::format("inode {}, entry {}", inode.ino, i));
    entry.name_length = static_cast<std::uint16_t>(name.size());
    entry.name_at = in.position() - name.size();
    tables_.entries.push_back(entry);
    ++inode.entry_count;
  }
  check_names(inode);
  return true;
}

void CheckpointParser::check_names(const CheckedInode& inode) {
  const std::span<const CheckedEntry> entries(tables_.entries.data() + inode.first_entry,
                                              inode.entry_count);
  bool sorted = true;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::string_view name = tables_.name(entries[i]);
    const std::string field = fmt::format("inode {}, entry {}, name", inode.ino, i);
    if (name.empty() || name.size() > name_length_bytes_max) {
      refused(
          entries[i].name_at, "directory", field,
          fmt::format("has {} bytes; 1 to {} are possible", name.size(), name_length_bytes_max));
    } else if (!name_is_valid(name)) {
      refused(entries[i].name_at, "directory", field,
              fmt::format("'{}' holds a separator or a NUL, or is '.' or '..'", name));
    }
    if (i != 0 && tables_.name(entries[i - 1]) >= name) sorted = false;
  }
  if (sorted) return;
  std::vector<CheckedEntry> by_name(entries.begin(), entries.end());
  std::stable_sort(by_name.begin(), by_name.end(),
                   [&](const auto& a, const auto& b) { return tables_.name(a) < tables_.name(b); });
  bool doubled = false;
  for (std::size_t i = 1; i < by_name.size(); ++i) {
    if (tables_.name(by_name[i - 1]) != tables_.name(by_name[i])) continue;
    doubled = true;
    refused(by_name[i].name_at, "directory",
            fmt::format("inode {}, entry '{}'", inode.ino, tables_.name(by_name[i])),
            fmt::format("the name is there twice, for inodes {} and {}", by_name[i - 1].ino,
                        by_name[i].ino));
  }
  if (doubled) return;
  findings_.noticed(block_of(inode.at), "directory", fmt::format("inode {}, entries", inode.ino),
                    "are not sorted by name", "none; readers sort them", Remedy::checkpoint);
}

}  // namespace handback
