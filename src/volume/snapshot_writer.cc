#include "volume/snapshot_writer.h"

#include <algorithm>
#include <limits>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/planted_bug.h"
#include "volume/format.h"
#include "volume/snapshot.h"

namespace handback {

SnapshotWriter::SnapshotWriter(Metadata& metadata)
    : metadata_(metadata),
      bytes_(metadata.snapshot_bytes()),
      next_ino_(metadata.next_ino()),
      inode_count_(metadata.inodes().size()) {
  metadata_.observe(this);
}

SnapshotWriter::~SnapshotWriter() {
  metadata_.observe(nullptr);
}

SnapshotWriter::Kept* SnapshotWriter::keep(const Inode& inode) {
  if (inode.ino >= next_ino_ || inode.ino < ino_) return nullptr;
  // Without a name it was none of the snapshot's, or it is kept whole already.
  if (inode.nlink == 0) return nullptr;
  if (inode.ino == ino_ && part_ == Part::between) return nullptr;
  const auto [at, added] = kept_.try_emplace(inode.ino);
  if (added) at->second.attributes = snapshot_inode(inode);
  return &at->second;
}

void SnapshotWriter::attributes_will_change(const Inode& inode) {
  if (planted(PlantedBug::snapshot_attributes_of_later)) return;
  keep(inode);
}

void SnapshotWriter::extents_will_change(const Inode& inode, std::uint64_t offset,
                                         std::uint64_t count) {
  if (planted(PlantedBug::snapshot_extents_of_later)) return;
  Kept* kept = keep(inode);
  if (kept == nullptr) return;
  const ExtentMap::Map& map = inode.extents.all();
  constexpr std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t start = offset;
  std::uint64_t end = count > limit - offset ? limit : offset + count;
  // With those next to it: they may become one with what comes.
  auto first = map.lower_bound(offset);
  if (first != map.begin()) {
    const auto before = std::prev(first);
    const bool touches = planted(PlantedBug::snapshot_forgets_neighbours)
                             ? before->first + before->second.count > start
                             : before->first + before->second.count >= start;
    if (touches) {
      first = before;
      start = before->first;
    }
  }
  const std::uint64_t changed_end = end;
  for (auto at = first; at != map.end() && at->first <= changed_end; ++at) {
    if (at->first == changed_end && planted(PlantedBug::snapshot_forgets_neighbours)) break;
    end = std::max(end, at->first + at->second.count);
  }
  if (inode.ino == ino_) start = std::max(start, block_);
  // What of it is not kept yet is still as it was.
  while (start < end) {
    auto next = kept->regions.upper_bound(start);
    if (next != kept->regions.begin()) {
      const auto holder = std::prev(next);
      if (holder->second.end > start) {
        start = holder->second.end;
        continue;
      }
    }
    Region region;
    region.end = next == kept->regions.end() ? end : std::min(end, next->first);
    for (auto at = map.lower_bound(start); at != map.end() && at->first < region.end; ++at)
      region.extents.emplace_back(at->first, at->second);
    const std::uint64_t region_end = region.end;
    kept->regions.emplace(start, std::move(region));
    start = region_end;
  }
}

void SnapshotWriter::entry_will_change(const Inode& directory, std::string_view name) {
  if (planted(PlantedBug::snapshot_names_of_later)) return;
  Kept* kept = keep(directory);
  if (kept == nullptr) return;
  if (directory.ino == ino_ && last_name_ && name <= *last_name_) return;
  if (kept->names.contains(name)) return;
  const auto entry = directory.entries.find(name);
  kept->names.emplace(std::string(name), entry == directory.entries.end()
                                             ? std::nullopt
                                             : std::optional(entry->second));
}

void SnapshotWriter::inode_will_go(const Inode& inode) {
  if (planted(PlantedBug::snapshot_forgets_removed)) return;
  if (keep(inode) == nullptr) return;
  extents_will_change(inode, 0, std::numeric_limits<std::uint64_t>::max());
  // A directory's entries have gone one by one before it.
  kept_.at(inode.ino).gone = true;
}

bool SnapshotWriter::begin_inode() {
  // Never both by one number: an inode that has gone is kept, or nowhere.
  const auto there = metadata_.inodes().upper_bound(ino_);
  const auto kept = kept_.upper_bound(ino_);
  std::uint64_t ino = next_ino_;
  if (there != metadata_.inodes().end()) ino = std::min(ino, there->first);
  if (kept != kept_.end()) ino = std::min(ino, kept->first);
  kept_.erase(kept_.begin(), kept_.lower_bound(ino));
  if (ino >= next_ino_) return false;
  ino_ = ino;
  block_ = 0;
  last_name_.reset();
  return true;
}

void SnapshotWriter::put_header(std::vector<std::byte>& bytes) const {
  const auto kept = kept_.find(ino_);
  ByteWriter out(bytes);
  snapshot_put_inode(
      out, kept != kept_.end() ? kept->second.attributes : snapshot_inode(*metadata_.find(ino_)));
}

// From block_ on: the regions that changed as they were kept, the rest as it is.
void SnapshotWriter::put_extents(std::size_t bytes_wanted, std::vector<std::byte>& bytes) {
  ByteWriter out(bytes);
  constexpr std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
  const auto found = kept_.find(ino_);
  const Kept* kept = found == kept_.end() ? nullptr : &found->second;
  const Inode* inode = kept != nullptr && kept->gone ? nullptr : metadata_.find(ino_);
  while (bytes.size() < bytes_wanted) {
    std::uint64_t region_start = limit;
    const Region* region = nullptr;
    if (kept != nullptr) {
      auto at = kept->regions.upper_bound(block_);
      if (at != kept->regions.begin() && std::prev(at)->second.end > block_) --at;
      if (at != kept->regions.end()) {
        region_start = at->first;
        region = &at->second;
      }
    }
    if (inode != nullptr && block_ < region_start) {
      const ExtentMap::Map& map = inode->extents.all();
      auto at = map.lower_bound(block_);
      for (; at != map.end() && at->first < region_start && bytes.size() < bytes_wanted; ++at) {
        snapshot_put_extent(out, at->first, at->second);
        block_ = at->first + at->second.count;
      }
      if (bytes.size() >= bytes_wanted) return;
    }
    if (region == nullptr) {
      part_ = Part::between;
      return;
    }
    auto at = std::lower_bound(
        region->extents.begin(), region->extents.end(), block_,
        [](const auto& extent, std::uint64_t from) { return extent.first < from; });
    for (; at != region->extents.end() && bytes.size() < bytes_wanted; ++at) {
      snapshot_put_extent(out, at->first, at->second);
      block_ = at->first + at->second.count;
    }
    if (at == region->extents.end()) block_ = region->end;
  }
}

void SnapshotWriter::put_entries(std::size_t bytes_wanted, std::vector<std::byte>& bytes) {
  ByteWriter out(bytes);
  const auto found = kept_.find(ino_);
  const Kept* kept = found == kept_.end() ? nullptr : &found->second;
  const Inode* inode = kept != nullptr && kept->gone ? nullptr : metadata_.find(ino_);
  using Entries = decltype(Inode::entries);
  static const Entries no_entries;
  static const decltype(Kept::names) no_names;
  const Entries& entries = inode != nullptr ? inode->entries : no_entries;
  const auto& names = kept != nullptr ? kept->names : no_names;
  auto entry = last_name_ ? entries.upper_bound(*last_name_) : entries.begin();
  auto name = last_name_ ? names.upper_bound(*last_name_) : names.begin();
  const std::string* last = nullptr;
  while (bytes.size() < bytes_wanted) {
    if (entry == entries.end() && name == names.end()) {
      part_ = Part::between;
      return;
    }
    if (name == names.end() || (entry != entries.end() && entry->first < name->first)) {
      snapshot_put_entry(out, entry->first, entry->second);
      last = &entry->first;
      ++entry;
      continue;
    }
    if (name->second) snapshot_put_entry(out, name->first, *name->second);
    last = &name->first;
    if (entry != entries.end() && entry->first == name->first) ++entry;
    ++name;
  }
  if (last != nullptr) last_name_ = *last;
}

bool SnapshotWriter::next(std::size_t bytes_wanted, std::vector<std::byte>& out) {
  const std::size_t before = out.size();
  const std::size_t wanted = before + bytes_wanted;
  while (part_ != Part::done && out.size() < wanted) {
    switch (part_) {
      case Part::volume_header: {
        ByteWriter header(out);
        snapshot_put_head(header, next_ino_, inode_count_);
        part_ = Part::between;
        break;
      }
      case Part::between: {
        if (!begin_inode()) {
          part_ = Part::done;
          break;
        }
        put_header(out);
        const auto kept = kept_.find(ino_);
        const FileType type =
            kept != kept_.end() ? kept->second.attributes.type : metadata_.find(ino_)->type;
        part_ = type == FileType::directory ? Part::entries : Part::extents;
        break;
      }
      case Part::extents:
        put_extents(wanted, out);
        break;
      case Part::entries:
        put_entries(wanted, out);
        break;
      case Part::done:
        break;
    }
  }
  written_ += out.size() - before;
  HB_ASSERT(written_ <= bytes_, "a snapshot is as long as the account of the metadata says");
  HB_ASSERT(written_ == bytes_ || part_ != Part::done,
            "a snapshot is as long as the account of the metadata says");
  return written_ < bytes_;
}

}  // namespace handback
