// How the checkpoint's entries hang together: the tree of directories, names and their counts; and
// whose blocks are whose.
#include <fmt/format.h>

#include <algorithm>

#include "base/planted_bug.h"
#include "volume/allocator.h"
#include "volume/check.h"

namespace handback {

std::uint64_t VolumeCheck::checkpoint_block(std::uint64_t payload_offset) const noexcept {
  return superblock_->layout.slot_start[root_->slot] + payload_offset / meta_payload_bytes_max;
}

std::uint64_t VolumeCheck::block_of_inode(std::uint64_t ino) const noexcept {
  const CheckedInode* inode = tables_.find(ino);
  return checkpoint_block(inode == nullptr ? 0 : inode->at);
}

void VolumeCheck::check_tree() {
  // Of a part of the tables nothing can be said that involves others.
  if (!tables_.complete) return;
  CheckedInode* root = tables_.find(root_ino);
  if (root == nullptr) return;
  root->names = 1;
  root->parent = root_ino;
  root->reachable = true;
  // Who is named by whom.
  for (CheckedInode& inode : tables_.inodes) {
    for (std::uint32_t i = 0; i < inode.entry_count; ++i) {
      const CheckedEntry& entry = tables_.entries[inode.first_entry + i];
      const auto field = [&] {
        return fmt::format("inode {}, entry '{}'", inode.ino, tables_.name(entry));
      };
      CheckedInode* child = tables_.find(entry.ino);
      if (child == nullptr) {
        findings_.refused(checkpoint_block(entry.name_at), "directory", field(),
                          fmt::format("names inode {}, which does not exist", entry.ino));
        continue;
      }
      ++child->names;
      if (!child->directory) continue;
      if (child->names > 1) {
        findings_.refused(checkpoint_block(entry.name_at), "directory", field(),
                          fmt::format("directory {} has more than one name", entry.ino));
        continue;
      }
      child->parent = inode.ino;
    }
  }
  // Which directories the root reaches: up along the parents, over each inode once. A walk that
  // ends where an earlier one was shares its fate; one that meets itself has found a cycle.
  std::vector<CheckedInode*> way;
  std::uint32_t walk = 0;
  for (CheckedInode& inode : tables_.inodes) {
    if (!inode.directory || inode.reachable || inode.walk != 0) continue;
    ++walk;
    way.clear();
    CheckedInode* at = &inode;
    while (at != nullptr && !at->reachable && at->walk == 0) {
      at->walk = walk;
      way.push_back(at);
      at = at->parent == 0 ? nullptr : tables_.find(at->parent);
    }
    if (at != nullptr && at->reachable) {
      for (CheckedInode* step : way)
        step->reachable = true;
    } else if (at != nullptr && at->walk == walk && !planted(PlantedBug::check_misses_cycles)) {
      std::size_t length = 1;
      for (const CheckedInode* step = tables_.find(at->parent); step != at; ++length)
        step = tables_.find(step->parent);
      findings_.refused(checkpoint_block(at->at), "directory", fmt::format("inode {}", at->ino),
                        fmt::format("lies below itself: a cycle of {} directories that the root "
                                    "directory does not reach",
                                    length));
    }
  }
  check_counts();
}

void VolumeCheck::check_counts() {
  // Names below a directory that the root does not reach do not count when the volume is opened.
  for (const CheckedInode& directory : tables_.inodes) {
    if (!directory.directory || directory.reachable) continue;
    for (std::uint32_t i = 0; i < directory.entry_count; ++i) {
      CheckedInode* child = tables_.find(tables_.entries[directory.first_entry + i].ino);
      if (child != nullptr && child->names != 0) --child->names;
    }
  }
  for (const CheckedInode& inode : tables_.inodes) {
    const std::uint64_t block = checkpoint_block(inode.at);
    if (inode.names == 0 && inode.nlink != 0) {
      findings_.refused(block, "inode", fmt::format("inode {}", inode.ino),
                        fmt::format("is an orphan: no name leads to it from the root directory, "
                                    "though nlink is {}",
                                    inode.nlink));
    } else if (inode.names != inode.nlink && inode.nlink != 0 &&
               !planted(PlantedBug::check_misses_counts)) {
      const bool one_name = !inode.directory || inode.names == 1;
      findings_.refused(block, "inode", fmt::format("inode {}, nlink", inode.ino),
                        fmt::format("is {}, but {} names lead there", inode.nlink, inode.names),
                        "the volume cannot be opened",
                        one_name ? Remedy::checkpoint : Remedy::none);
    }
    if (inode.directory && inode.size_bytes != inode.entry_count) {
      findings_.noticed(block, "inode", fmt::format("inode {}, size_bytes", inode.ino),
                        fmt::format("is {}, but the directory has {} entries", inode.size_bytes,
                                    inode.entry_count),
                        "none; readers count the entries", Remedy::checkpoint);
    }
    Inode* loaded = metadata_ == nullptr ? nullptr : metadata_->find(inode.ino);
    if (loaded == nullptr) continue;
    // What replay relies on.
    loaded->parent = inode.directory ? inode.parent : 0;
    loaded->nlink = inode.names;
  }
}

// As the log leaves them, if it could be replayed; else as they stand in the checkpoint.
void VolumeCheck::check_extents() {
  std::vector<CheckedExtent>& extents = tables_.extents;
  if (metadata_ != nullptr) {
    extents.clear();
    for (const auto& [ino, inode] : metadata_->inodes()) {
      for (const auto& [offset, extent] : inode->extents.all())
        extents.push_back({extent.addr, ino, offset, extent.count});
    }
  }
  const Layout& layout = superblock_->layout;
  const auto field = [](const CheckedExtent& extent) {
    return fmt::format("inode {}, file block {}, addr", extent.ino, extent.offset);
  };
  std::erase_if(extents, [&](const CheckedExtent& extent) {
    if (extent.addr >= layout.data_start && extent.addr < layout.data_end &&
        extent.count <= layout.data_end - extent.addr) {
      return false;
    }
    std::string_view where = "outside the volume";
    if (extent.addr < layout.data_start || extent.addr == layout.backup_superblock)
      where = "in the metadata area";
    else if (extent.addr < layout.data_end)
      where = "partly outside the data area";
    findings_.refused(block_of_inode(extent.ino), "extent", field(extent),
                      fmt::format("{} blocks from {} on lie outside the data area, {}",
                                  extent.count, extent.addr, where));
    return true;
  });
  std::sort(extents.begin(), extents.end(),
            [](const CheckedExtent& a, const CheckedExtent& b) { return a.addr < b.addr; });
  std::uint64_t used = 0;
  const CheckedExtent* last = nullptr;  // The one that reaches furthest so far.
  for (const CheckedExtent& extent : extents) {
    const std::uint64_t last_end = last == nullptr ? 0 : last->addr + last->count;
    if (extent.addr < last_end && !planted(PlantedBug::check_misses_overlap)) {
      const std::uint64_t end = std::min(last_end, extent.addr + extent.count);
      findings_.refused(
          block_of_inode(extent.ino), "extent", field(extent),
          fmt::format(
              "{} blocks from {} on overlap another extent, that of inode {}, file block {}",
              end - extent.addr, extent.addr, last->ino, last->offset),
          "two places share blocks; writing to one changes the other; the volume cannot be opened");
    }
    const std::uint64_t end = extent.addr + extent.count;
    if (end > last_end) {
      used += end - std::max(last_end, extent.addr);
      last = &extent;
    }
  }
  // Nothing but the extents says what is free, so every block is one or the other.
  free_blocks_ = layout.data_end - layout.data_start - used;
}

}  // namespace handback
