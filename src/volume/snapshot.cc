#include "volume/snapshot.h"

#include <fmt/format.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/planted_bug.h"
#include "volume/format.h"

namespace handback {
namespace {

class Decoder {
 public:
  Decoder(std::span<const std::byte> payload, Metadata* metadata, std::uint64_t checksum_pages,
          std::vector<std::uint64_t>* stale)
      : in_(payload), metadata_(*metadata), checksum_pages_(checksum_pages), stale_(stale) {}

  std::string run() {
    const auto next_ino = in_.get<std::uint64_t>();
    const auto inode_count = in_.get<std::uint64_t>();
    // Each inode takes at least this much, so a count that cannot be true is refused before the
    // work.
    if (inode_count > in_.remaining() / snapshot_inode_bytes)
      return problem("the count of inodes is too large");
    if (inode_count == 0) return problem("there is no root inode");
    // As a create in the log is checked: numbers are never used again, and never run out.
    if (next_ino <= root_ino || next_ino >= ino_max) return problem("next_ino is out of bounds");
    std::uint64_t previous = 0;
    for (std::uint64_t i = 0; i < inode_count; ++i) {
      if (std::string wrong = read_inode(&previous); !wrong.empty()) return wrong;
    }
    if (checksum_pages_ != 0) {
      if (std::string wrong = read_stale(); !wrong.empty()) return wrong;
    }
    if (!in_.ok()) return problem("the bytes end within an entry");
    if (in_.remaining() != 0) return problem("bytes are left over");
    if (previous >= next_ino) return problem("next_ino is in use");
    if (metadata_.find(root_ino)->type != FileType::directory)
      return problem("the root is no directory");
    metadata_.set_next_ino(next_ino);
    return {};
  }

 private:
  std::string problem(std::string_view what) const {
    return fmt::format("byte {}: {}", in_.position(), what);
  }

  std::string read_inode(std::uint64_t* previous) {
    const auto ino = in_.get<std::uint64_t>();
    const auto type = in_.get<std::uint8_t>();
    const auto nlink = in_.get<std::uint32_t>();
    const auto size = in_.get<std::uint64_t>();
    const auto mtime = in_.get<std::int64_t>();
    const auto flags = in_.get<std::uint8_t>();
    const auto extent_count = in_.get<std::uint32_t>();
    if (!in_.ok()) return problem("the bytes end within an inode");
    if (ino <= *previous) return problem("inode numbers do not rise");
    if (*previous == 0 && ino != root_ino) return problem("the first inode is not the root");
    *previous = ino;
    if (type > static_cast<std::uint8_t>(FileType::directory))
      return problem("unknown type of inode");
    if (flags != 0 && !planted(PlantedBug::snapshot_flags_unchecked))
      return problem("unknown flags of an inode");
    if (nlink == 0) return problem("an inode without a name");
    const auto file_type = static_cast<FileType>(type);
    Inode* inode = ino == root_ino ? metadata_.find(ino) : metadata_.add_inode(ino, file_type);
    if (inode == nullptr || inode->type != file_type) return problem("the inode's type cannot be");
    inode->nlink = nlink;
    inode->mtime_ns = mtime;
    if (file_type == FileType::directory) {
      if (extent_count != 0) return problem("a directory with extents");
      return read_entries(*inode);
    }
    if (size > file_size_bytes_max && !planted(PlantedBug::snapshot_size_unchecked))
      return problem("a file's size is out of bounds");
    inode->size_bytes.store(size, std::memory_order_relaxed);
    return read_extents(*inode, extent_count);
  }

  std::string read_entries(Inode& inode) {
    const auto count = in_.get<std::uint32_t>();
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto ino = in_.get<std::uint64_t>();
      const std::string_view name = in_.get_string();
      if (!in_.ok()) return problem("the bytes end within an entry");
      if (!metadata_.add_entry(inode, name, ino))
        return problem("an entry's name is invalid or doubled");
    }
    return {};
  }

  std::string read_extents(Inode& inode, std::uint32_t count) {
    std::uint64_t end = 0;
    ExtentMap extents;
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto offset = in_.get<std::uint64_t>();
      const auto addr = in_.get<std::uint64_t>();
      const auto blocks = in_.get<std::uint32_t>();
      if (!in_.ok()) return problem("the bytes end within an extent");
      constexpr std::uint64_t blocks_max = file_size_bytes_max / fs_block;
      if (blocks == 0 || offset >= blocks_max || blocks > blocks_max - offset) {
        return problem("an extent lies beyond the largest file");
      }
      if (offset < end && !planted(PlantedBug::snapshot_extent_order_unchecked))
        return problem("a file's extents overlap or are out of order");
      end = offset + blocks;
      extents.append(offset, Extent{addr & ~snapshot_unwritten_bit, blocks,
                                    (addr & snapshot_unwritten_bit) != 0});
    }
    metadata_.set_extents(inode, std::move(extents));
    return {};
  }

  std::string read_stale() {
    const auto count = in_.get<std::uint64_t>();
    if (!in_.ok() || count > in_.remaining() / sizeof(std::uint64_t))
      return problem("the count of stale checksum pages is too large");
    stale_->reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto page = in_.get<std::uint64_t>();
      if (page >= checksum_pages_) return problem("a stale checksum page is out of bounds");
      if (!stale_->empty() && page <= stale_->back())
        return problem("the stale checksum pages do not rise");
      stale_->push_back(page);
    }
    return {};
  }

  ByteReader in_;
  Metadata& metadata_;
  std::uint64_t checksum_pages_;
  std::vector<std::uint64_t>* stale_;
};

}  // namespace

SnapshotInode snapshot_inode(const Inode& inode) {
  return {.ino = inode.ino,
          .type = inode.type,
          .nlink = inode.nlink,
          .size_bytes = inode.size_bytes.load(std::memory_order_relaxed),
          .mtime_ns = inode.mtime_ns,
          .extent_count = static_cast<std::uint32_t>(inode.extents.size()),
          .entry_count = static_cast<std::uint32_t>(inode.entries.size())};
}

void snapshot_put_head(ByteWriter& out, std::uint64_t next_ino, std::uint64_t inode_count) {
  out.put(next_ino);
  out.put(inode_count);
}

void snapshot_put_inode(ByteWriter& out, const SnapshotInode& inode) {
  out.put(inode.ino);
  out.put(static_cast<std::uint8_t>(inode.type));
  out.put(inode.nlink);
  out.put(inode.size_bytes);
  out.put(planted(PlantedBug::snapshot_forgets_mtime) ? std::int64_t{0} : inode.mtime_ns);
  out.put(std::uint8_t{0});
  out.put(inode.extent_count);
  if (inode.type == FileType::directory) out.put(inode.entry_count);
}

void snapshot_put_extent(ByteWriter& out, std::uint64_t offset, const Extent& extent) {
  const bool unwritten = extent.unwritten && !planted(PlantedBug::snapshot_forgets_unwritten);
  out.put(offset);
  out.put(extent.addr | (unwritten ? snapshot_unwritten_bit : 0));
  out.put(extent.count);
}

void snapshot_put_entry(ByteWriter& out, std::string_view name, std::uint64_t ino) {
  out.put(ino);
  out.put_string(name);
}

std::vector<std::byte> snapshot_encode(const Metadata& metadata) {
  std::vector<std::byte> payload;
  payload.reserve(metadata.snapshot_bytes());
  ByteWriter out(payload);
  snapshot_put_head(out, metadata.next_ino(), metadata.inodes().size());
  for (const auto& [ino, inode] : metadata.inodes()) {
    snapshot_put_inode(out, snapshot_inode(*inode));
    for (const auto& [offset, extent] : inode->extents.all())
      snapshot_put_extent(out, offset, extent);
    for (const auto& [name, child] : inode->entries)
      snapshot_put_entry(out, name, child);
  }
  return payload;
}

void snapshot_put_stale(std::vector<std::byte>& payload, std::span<const std::uint64_t> pages) {
  ByteWriter out(payload);
  out.put(std::uint64_t{pages.size()});
  for (const std::uint64_t page : pages)
    out.put(page);
}

std::string snapshot_decode(std::span<const std::byte> payload, Metadata* metadata,
                            std::uint64_t checksum_pages, std::vector<std::uint64_t>* stale) {
  return Decoder(payload, metadata, checksum_pages, stale).run();
}

}  // namespace handback
