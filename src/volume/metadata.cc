#include "volume/metadata.h"

#include <algorithm>
#include <limits>

#include "base/align.h"
#include "base/assert.h"
#include "base/planted_bug.h"
#include "volume/format.h"
#include "volume/open_inode.h"

namespace handback {

Inode::Inode(std::uint64_t number, FileType file_type) : ino(number), type(file_type) {}
Inode::~Inode() = default;

namespace {
constexpr std::uint64_t everything = ~std::uint64_t{0};
}  // namespace

bool name_is_valid(std::string_view name) noexcept {
  return !name.empty() && name.size() <= name_length_bytes_max && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

Metadata::Metadata() : next_ino_(root_ino + 1), snapshot_bytes_(snapshot_header_bytes) {
  Inode* made = add_inode(root_ino, FileType::directory);
  made->nlink = 1;
  made->parent = root_ino;
}

std::uint64_t Metadata::root_inode() noexcept {
  return root_ino;
}

Inode* Metadata::find(std::uint64_t ino) const noexcept {
  const auto found = inodes_.find(ino);
  return found == inodes_.end() ? nullptr : found->second.get();
}

const Inode* Metadata::child(const Inode& in, std::string_view name) const noexcept {
  const auto entry = in.entries.find(name);
  return entry == in.entries.end() ? nullptr : find(entry->second);
}

Inode* Metadata::child(const Inode& in, std::string_view name) noexcept {
  const auto entry = in.entries.find(name);
  return entry == in.entries.end() ? nullptr : find(entry->second);
}

bool Metadata::is_below(const Inode& inode, const Inode& ancestor) const noexcept {
  const Inode* at = &inode;
  // A tree is never deeper than it has directories: bounds the walk whatever a damaged volume says.
  for (std::uint64_t step = 0; step <= directory_count_ && at != nullptr; ++step) {
    if (at == &ancestor) return true;
    if (at->ino == root_ino) return false;
    at = find(at->parent);
  }
  return false;
}

Inode* Metadata::add_inode(std::uint64_t ino, FileType type) {
  // Nearly always the highest.
  const std::size_t before = inodes_.size();
  const auto it = inodes_.insert(inodes_.end(), {ino, nullptr});
  if (inodes_.size() == before) return nullptr;
  it->second = std::make_unique<Inode>(ino, type);
  snapshot_bytes_ += snapshot_inode_bytes;
  if (type == FileType::directory) {
    snapshot_bytes_ += snapshot_directory_bytes;
    ++directory_count_;
  } else {
    ++file_count_;
  }
  return it->second.get();
}

bool Metadata::add_entry(Inode& in, std::string_view name, std::uint64_t ino) {
  if (!name_is_valid(name)) return false;
  changes_attributes(in);
  changes_entry(in, name);
  // In a checkpoint they come in their order.
  const std::size_t before = in.entries.size();
  in.entries.emplace_hint(in.entries.end(), std::string(name), ino);
  if (in.entries.size() == before) return false;
  in.size_bytes.store(in.entries.size(), std::memory_order_relaxed);
  snapshot_bytes_ += snapshot_entry_bytes + name.size();
  return true;
}

void Metadata::observe(MetadataObserver* observer) noexcept {
  HB_ASSERT(observer == nullptr || observer_ == nullptr, "one at a time observes metadata");
  observer_ = observer;
}

namespace {

// One number for each change of any inode's extents, so that an inode which takes another's place
// in memory has none of its. (A variable of a template would be one for each kind of change.)
std::uint64_t next_map_version() noexcept {
  static std::atomic<std::uint64_t> versions{0};
  return versions.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

template <typename Edit>
void Metadata::edit_extents(Inode& inode, std::uint64_t offset, std::uint64_t count, Edit edit) {
  if (observer_ != nullptr) observer_->extents_will_change(inode, offset, count);
  const std::lock_guard guard(inode.map_lock);
  const std::size_t before = inode.extents.size();
  unwritten_blocks_ -= inode.extents.unwritten_blocks();
  edit(inode.extents);
  inode.map_version.store(next_map_version(), std::memory_order_release);
  unwritten_blocks_ += inode.extents.unwritten_blocks();
  const std::size_t after = inode.extents.size();
  extent_count_ += after - before;  // Modulo 2^64, so a decrease works too.
  // A checkpoint does not contain files without a name.
  if (inode.nlink != 0) snapshot_bytes_ += (after - before) * snapshot_extent_bytes;
}

void Metadata::set_extents(Inode& inode, ExtentMap&& extents) {
  edit_extents(inode, 0, everything, [&](ExtentMap& of) { of = std::move(extents); });
}

void Metadata::map(Inode& inode, std::uint64_t offset, const Extent& extent,
                   std::vector<BlockRun>* freed) {
  edit_extents(inode, offset, extent.count,
               [&](ExtentMap& extents) { extents.insert(offset, extent, freed); });
}

void Metadata::unmap(Inode& inode, std::uint64_t offset, std::uint64_t count,
                     std::vector<BlockRun>* freed) {
  edit_extents(inode, offset, count,
               [&](ExtentMap& extents) { extents.erase(offset, count, freed); });
}

void Metadata::set_size(Inode& inode, std::uint64_t size_bytes, std::int64_t mtime_ns,
                        std::vector<BlockRun>* freed) {
  changes_attributes(inode);
  const std::uint64_t old_size = inode.size_bytes.load(std::memory_order_relaxed);
  inode.size_bytes.store(size_bytes, std::memory_order_release);
  inode.mtime_ns = mtime_ns;
  if (size_bytes >= old_size || planted(PlantedBug::truncate_keeps_blocks)) return;
  const std::uint64_t first_beyond = round_up(size_bytes, fs_block) / fs_block;
  edit_extents(inode, first_beyond, everything,
               [&](ExtentMap& extents) { extents.erase(first_beyond, everything, freed); });
}

Inode* Metadata::directory(std::uint64_t ino) const noexcept {
  Inode* inode = find(ino);
  return inode != nullptr && inode->type == FileType::directory ? inode : nullptr;
}

const char* Metadata::apply(const Change& change, std::vector<BlockRun>* freed) {
  switch (change.kind) {
    case ChangeKind::create:
      return apply_create(change);
    case ChangeKind::remove_name:
      return apply_remove_name(change, freed);
    case ChangeKind::rename:
      return apply_rename(change, freed);
    case ChangeKind::write:
      return "a write is replayed elsewhere";
    case ChangeKind::grow:
    case ChangeKind::set_size:
      return apply_set_size(change, freed);
    case ChangeKind::map:
      return apply_map(change, freed);
    case ChangeKind::unmap:
      return apply_unmap(change, freed);
    case ChangeKind::set_mtime: {
      Inode* inode = find(change.ino);
      if (inode == nullptr) return "the inode does not exist";
      changes_attributes(*inode);
      if (!planted(PlantedBug::mtime_lost_in_the_log)) inode->mtime_ns = change.mtime_ns;
      return nullptr;
    }
    case ChangeKind::link:
      return apply_link(change);
    case ChangeKind::overwrite:
      return "checksums of data are replayed elsewhere";
  }
  return "the kind of change is unknown";
}

const char* Metadata::apply_create(const Change& change) {
  Inode* in = directory(change.parent);
  if (in == nullptr) return "the parent is no directory";
  if (!name_is_valid(change.name)) return "the name is invalid";
  if (in->entries.contains(change.name)) return "the name is taken";
  if (change.ino < next_ino_) return "the inode number was used before";
  if (change.ino >= ino_max) return "the inode number is out of bounds";
  Inode* made = add_inode(change.ino, change.type);
  next_ino_ = change.ino + 1;
  made->nlink = 1;
  made->mtime_ns = change.mtime_ns;
  made->parent = change.type == FileType::directory ? in->ino : 0;
  add_entry(*in, change.name, change.ino);
  in->mtime_ns = change.mtime_ns;
  return nullptr;
}

const char* Metadata::apply_link(const Change& change) {
  Inode* in = directory(change.parent);
  if (in == nullptr) return "the parent is no directory";
  if (!name_is_valid(change.name)) return "the name is invalid";
  if (in->entries.contains(change.name)) return "the name is taken";
  Inode* inode = find(change.ino);
  if (inode == nullptr || inode->type != FileType::regular) return "the inode is no file";
  if (inode->nlink == std::numeric_limits<std::uint32_t>::max()) return "it has too many names";
  changes_attributes(*inode);
  if (!planted(PlantedBug::inode_forgets_links)) ++inode->nlink;
  add_entry(*in, change.name, change.ino);
  in->mtime_ns = change.mtime_ns;
  return nullptr;
}

void Metadata::free_blocks_of(Inode& inode, std::vector<BlockRun>* freed) {
  edit_extents(inode, 0, everything,
               [&](ExtentMap& extents) { extents.erase(0, everything, freed); });
}

// One name less. Without names, an inode goes at once, or, if it is open, with its last handle.
void Metadata::unlink_inode(Inode& inode, std::vector<BlockRun>* freed) {
  if (inode.nlink == 1 && observer_ != nullptr) observer_->inode_will_go(inode);
  changes_attributes(inode);
  --inode.nlink;
  if (inode.nlink != 0) return;
  snapshot_bytes_ -= snapshot_inode_bytes + inode.extents.size() * snapshot_extent_bytes;
  if (inode.type == FileType::directory) {
    snapshot_bytes_ -= snapshot_directory_bytes;
    --directory_count_;
  } else {
    --file_count_;
  }
  const auto found = inodes_.find(inode.ino);
  if (planted(PlantedBug::unlink_frees_what_is_open)) free_blocks_of(inode, freed);
  if (inode.open != nullptr) {
    orphans_.push_back(std::move(found->second));
  } else {
    free_blocks_of(inode, freed);
  }
  inodes_.erase(found);
}

void Metadata::drop_orphan(Inode& inode, std::vector<BlockRun>* freed) {
  free_blocks_of(inode, freed);
  std::erase_if(orphans_,
                [&](const std::unique_ptr<Inode>& orphan) { return orphan.get() == &inode; });
}

const char* Metadata::apply_remove_name(const Change& change, std::vector<BlockRun>* freed) {
  Inode* in = directory(change.parent);
  if (in == nullptr) return "the parent is no directory";
  const auto entry = in->entries.find(change.name);
  if (entry == in->entries.end()) return "there is no such name";
  Inode* inode = find(entry->second);
  if (inode == nullptr) return "the inode does not exist";
  if (!inode->entries.empty()) return "the directory is not empty";
  changes_attributes(*in);
  changes_entry(*in, change.name);
  snapshot_bytes_ -= snapshot_entry_bytes + entry->first.size();
  in->entries.erase(entry);
  in->size_bytes.store(in->entries.size(), std::memory_order_relaxed);
  in->mtime_ns = change.mtime_ns;
  unlink_inode(*inode, freed);
  return nullptr;
}

const char* Metadata::apply_rename(const Change& change, std::vector<BlockRun>* freed) {
  Inode* from = directory(change.parent);
  Inode* to = directory(change.parent_to);
  if (from == nullptr || to == nullptr) return "a parent is no directory";
  if (!name_is_valid(change.name_to)) return "the new name is invalid";
  Inode* moved = child(*from, change.name);
  if (moved == nullptr) return "there is no such name";
  const bool is_directory = moved->type == FileType::directory;
  if (is_directory && is_below(*to, *moved)) return "a directory cannot move into itself";
  if (from == to && change.name == change.name_to) return nullptr;
  if (Inode* replaced = child(*to, change.name_to); replaced != nullptr) {
    if (replaced == moved) return "both names are the same file";
    if ((replaced->type == FileType::directory) != is_directory) return "the kinds do not match";
    if (!replaced->entries.empty()) return "the directory to replace is not empty";
    Change removal;
    removal.kind = ChangeKind::remove_name;
    removal.parent = to->ino;
    removal.mtime_ns = change.mtime_ns;
    removal.name = change.name_to;
    if (const char* problem = apply_remove_name(removal, freed); problem != nullptr) return problem;
  }
  changes_attributes(*from);
  changes_entry(*from, change.name);
  if (planted(PlantedBug::rename_keeps_the_old_name)) {
    add_entry(*to, change.name_to, moved->ino);
    return nullptr;
  }
  const auto entry = from->entries.find(change.name);
  snapshot_bytes_ -= snapshot_entry_bytes + entry->first.size();
  from->entries.erase(entry);
  from->size_bytes.store(from->entries.size(), std::memory_order_relaxed);
  from->mtime_ns = change.mtime_ns;
  add_entry(*to, change.name_to, moved->ino);
  to->mtime_ns = change.mtime_ns;
  if (is_directory && !planted(PlantedBug::rename_keeps_the_parent)) moved->parent = to->ino;
  return nullptr;
}

const char* Metadata::apply_set_size(const Change& change, std::vector<BlockRun>* freed) {
  Inode* inode = find(change.ino);
  if (inode == nullptr || inode->type != FileType::regular) return "the inode is no file";
  if (change.size_bytes > file_size_bytes_max) return "the size is out of bounds";
  if (change.kind == ChangeKind::grow &&
      change.size_bytes <= inode->size_bytes.load(std::memory_order_relaxed)) {
    return nullptr;
  }
  set_size(*inode, change.size_bytes, change.mtime_ns, freed);
  return nullptr;
}

const char* Metadata::apply_map(const Change& change, std::vector<BlockRun>* freed) {
  Inode* inode = find(change.ino);
  if (inode == nullptr || inode->type != FileType::regular) return "the inode is no file";
  if (change.count == 0) return "the extent is empty";
  constexpr std::uint64_t blocks_max = file_size_bytes_max / fs_block;
  if (change.offset >= blocks_max || change.count > blocks_max - change.offset) {
    return "the extent lies beyond the largest file";
  }
  map(*inode, change.offset, Extent{change.addr, change.count, change.unwritten}, freed);
  return nullptr;
}

const char* Metadata::apply_unmap(const Change& change, std::vector<BlockRun>* freed) {
  Inode* inode = find(change.ino);
  if (inode == nullptr || inode->type != FileType::regular) return "the inode is no file";
  constexpr std::uint64_t blocks_max = file_size_bytes_max / fs_block;
  if (change.block_count == 0) return "the hole is empty";
  if (change.offset >= blocks_max || change.block_count > blocks_max - change.offset) {
    return "the hole lies beyond the largest file";
  }
  unmap(*inode, change.offset, change.block_count, freed);
  return nullptr;
}

}  // namespace handback
