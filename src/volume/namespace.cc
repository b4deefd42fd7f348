// Names: paths to inodes, and the changes of directories.
#include <fmt/format.h>

#include "base/assert.h"
#include "volume/cached_inode.h"
#include "volume/volume_impl.h"

namespace handback {
namespace {

std::string printable(std::string_view path) {
  constexpr std::size_t shown_max = 120;
  std::string text;
  for (const char c : path.substr(0, shown_max)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  if (path.size() > shown_max) text += "...";
  return text;
}

tl::unexpected<Error> fail_path(Errc code, std::string_view path, std::string_view what) {
  return fail(code, fmt::format("{}: {}", printable(path), what));
}

// What is wrong with a name, or null.
Result<void> check_name(std::string_view path, std::string_view name) {
  if (name_is_valid(name)) return {};
  if (name.size() > name_length_bytes_max) {
    return fail_path(Errc::too_large, path,
                     fmt::format("a name has at most {} bytes, this one has {}",
                                 name_length_bytes_max, name.size()));
  }
  if (name.find('\0') != std::string_view::npos) {
    return fail_path(Errc::invalid, path, "a name cannot contain a NUL byte");
  }
  return fail_path(Errc::invalid, path,
                   "'.', '..' and empty names are not allowed in a path; write it out");
}

}  // namespace

Result<VolumeImpl::Place> VolumeImpl::find_place(std::string_view path) const {
  std::string_view rest = path;
  if (!rest.empty() && rest.front() == '/') rest.remove_prefix(1);
  Place place{nullptr, {}, &metadata_->root()};
  while (!rest.empty()) {
    const std::size_t slash = rest.find('/');
    const std::string_view name = rest.substr(0, slash);
    rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
    if (auto valid = check_name(path, name); !valid)
      return tl::unexpected<Error>(std::move(valid.error()));
    if (place.inode == nullptr) {
      return fail_path(
          Errc::not_found, path,
          fmt::format("there is no '{}'; make the directory first", printable(place.name)));
    }
    if (place.inode->type != FileType::directory) {
      return fail_path(Errc::not_a_directory, path,
                       fmt::format("'{}' is a file", printable(place.name)));
    }
    place.directory = place.inode;
    place.name = name;
    place.inode = metadata_->child(*place.directory, name);
  }
  return place;
}

Result<VolumeImpl::Place> VolumeImpl::find_existing(std::string_view path) const {
  auto place = find_place(path);
  if (place && place->inode == nullptr)
    return fail_path(Errc::not_found, path, "there is no such file or directory");
  return place;
}

Result<Inode*> VolumeImpl::open_inode(std::string_view path, const OpenFlags& flags) {
  const std::lock_guard guard(metadata_lock_);
  auto place = find_place(path);
  if (!place) return tl::unexpected<Error>(std::move(place.error()));
  if (place->inode != nullptr) {
    if (place->inode->type == FileType::directory) {
      return fail_path(Errc::is_a_directory, path, "is a directory; name a file in it");
    }
    if (flags.create && flags.exclusive)
      return fail_path(Errc::exists, path, "the file exists already");
    if (flags.truncate) {
      if (auto writable = check_writable_locked(); !writable)
        return tl::unexpected<Error>(writable.error());
    }
  } else {
    if (!flags.create) return fail_path(Errc::not_found, path, "there is no such file");
    if (auto writable = check_writable_locked(); !writable)
      return tl::unexpected<Error>(writable.error());
    const std::uint64_t bytes = snapshot_inode_bytes + snapshot_entry_bytes + place->name.size();
    if (auto room = need_room(bytes); !room) return tl::unexpected<Error>(room.error());
    Change change;
    change.kind = ChangeKind::create;
    change.parent = place->directory->ino;
    change.ino = metadata_->next_ino();
    change.type = FileType::regular;
    change.mtime_ns = realtime_ns();
    change.name = place->name;
    make(change, {place->directory});
    place->inode = metadata_->find(change.ino);
    place->inode->dirty_sequence.store(place->directory->dirty_sequence.load());
  }
  Inode& inode = *place->inode;
  if (inode.open == nullptr) {
    inode.open = std::make_unique<OpenInode>();
    const std::uint64_t size = inode.size_bytes.load(std::memory_order_relaxed);
    inode.open->tail_unclean.store(size % fs_block != 0, std::memory_order_relaxed);
    open_inodes_.insert(&inode);
    if (freeze_ != nullptr) freeze_->hold_new(inode);
  }
  if (inode.open->handles++ == 0 && inode.open->cached.load(std::memory_order_relaxed) != nullptr)
    --unused_open_;
  ++handles_;
  return &inode;
}

void VolumeImpl::release_inode(Inode& inode) noexcept {
  const std::lock_guard guard(metadata_lock_);
  --handles_;
  if (--inode.open->handles != 0) return;
  if (inode.open->cached.load(std::memory_order_relaxed) != nullptr) {
    // It may be dirty; then it stays until that is written back.
    ++unused_open_;
    hook_->set_idle(false);
    let_go_of_unused();
    return;
  }
  let_go(inode);
}

void VolumeImpl::let_go(Inode& inode) noexcept {
  if (freeze_ != nullptr) freeze_->let_go(inode);
  open_inodes_.erase(&inode);
  inode.open.reset();
  if (inode.nlink != 0) return;
  std::vector<BlockRun> freed;
  metadata_->drop_orphan(inode, &freed);
  journal_.freed(std::move(freed));
}

Result<void> VolumeImpl::mkdir(std::string_view path) {
  const std::lock_guard guard(metadata_lock_);
  auto place = find_place(path);
  if (!place) return tl::unexpected<Error>(std::move(place.error()));
  if (place->inode != nullptr) return fail_path(Errc::exists, path, "exists already");
  if (auto writable = check_writable_locked(); !writable) return writable;
  const std::uint64_t bytes =
      snapshot_inode_bytes + snapshot_directory_bytes + snapshot_entry_bytes + place->name.size();
  if (auto room = need_room(bytes); !room) return room;
  Change change;
  change.kind = ChangeKind::create;
  change.parent = place->directory->ino;
  change.ino = metadata_->next_ino();
  change.type = FileType::directory;
  change.mtime_ns = realtime_ns();
  change.name = place->name;
  make(change, {place->directory});
  metadata_->find(change.ino)->dirty_sequence.store(place->directory->dirty_sequence.load());
  return {};
}

Result<void> VolumeImpl::link(std::string_view existing, std::string_view path) {
  const std::lock_guard guard(metadata_lock_);
  auto source = find_existing(existing);
  if (!source) return tl::unexpected<Error>(std::move(source.error()));
  auto target = find_place(path);
  if (!target) return tl::unexpected<Error>(std::move(target.error()));
  if (source->inode->type == FileType::directory) {
    return fail_path(Errc::is_a_directory, existing,
                     "is a directory; only files can have more than one name");
  }
  if (target->inode != nullptr) return fail_path(Errc::exists, path, "exists already");
  if (auto writable = check_writable_locked(); !writable) return writable;
  if (auto room = need_room(snapshot_entry_bytes + target->name.size()); !room) return room;
  Change change;
  change.kind = ChangeKind::link;
  change.parent = target->directory->ino;
  change.ino = source->inode->ino;
  change.mtime_ns = realtime_ns();
  change.name = target->name;
  make(change, {target->directory, source->inode});
  return {};
}

// What is written to an open file without a name is not logged. It counts as durable once it is
// durable that the file has gone: else it might come back without it.
void VolumeImpl::name_lost(Inode& inode, const Inode& directory) {
  inode.dirty_sequence.store(directory.dirty_sequence.load(std::memory_order_relaxed),
                             std::memory_order_relaxed);
}

Result<void> VolumeImpl::unlink(std::string_view path) {
  const std::lock_guard guard(metadata_lock_);
  auto place = find_existing(path);
  if (!place) return tl::unexpected<Error>(std::move(place.error()));
  if (place->inode->type == FileType::directory) {
    return fail_path(Errc::is_a_directory, path, "is a directory; use rmdir");
  }
  if (auto writable = check_writable_locked(); !writable) return writable;
  Change change;
  change.kind = ChangeKind::remove_name;
  change.parent = place->directory->ino;
  change.mtime_ns = realtime_ns();
  change.name = place->name;
  Inode* const still_open = place->inode->open != nullptr ? place->inode : nullptr;
  make(change, {place->directory});
  if (still_open != nullptr) name_lost(*still_open, *place->directory);
  return {};
}

Result<void> VolumeImpl::rmdir(std::string_view path) {
  const std::lock_guard guard(metadata_lock_);
  auto place = find_existing(path);
  if (!place) return tl::unexpected<Error>(std::move(place.error()));
  if (place->inode->type != FileType::directory) {
    return fail_path(Errc::not_a_directory, path, "is a file; use unlink");
  }
  if (place->directory == nullptr)
    return fail_path(Errc::invalid, path, "the root directory stays");
  if (!place->inode->entries.empty())
    return fail_path(Errc::not_empty, path, "the directory is not empty");
  if (auto writable = check_writable_locked(); !writable) return writable;
  Change change;
  change.kind = ChangeKind::remove_name;
  change.parent = place->directory->ino;
  change.mtime_ns = realtime_ns();
  change.name = place->name;
  make(change, {place->directory});
  return {};
}

Result<void> VolumeImpl::rename(std::string_view from, std::string_view to) {
  const std::lock_guard guard(metadata_lock_);
  auto source = find_existing(from);
  if (!source) return tl::unexpected<Error>(std::move(source.error()));
  auto target = find_place(to);
  if (!target) return tl::unexpected<Error>(std::move(target.error()));
  if (source->directory == nullptr || target->directory == nullptr) {
    return fail_path(Errc::invalid, source->directory == nullptr ? from : to,
                     "the root directory stays");
  }
  Inode* moved = source->inode;
  Inode* replaced = target->inode;
  const bool is_directory = moved->type == FileType::directory;
  if (is_directory && metadata_->is_below(*target->directory, *moved)) {
    return fail_path(Errc::invalid, to, "a directory cannot move into itself");
  }
  // Two names of one file: as POSIX says, both stay.
  if (replaced == moved) return {};
  if (replaced != nullptr) {
    if (replaced->type == FileType::directory && !is_directory) {
      return fail_path(Errc::is_a_directory, to, "is a directory and cannot be replaced by a file");
    }
    if (replaced->type != FileType::directory && is_directory) {
      return fail_path(Errc::not_a_directory, to,
                       "is a file and cannot be replaced by a directory");
    }
    if (!replaced->entries.empty())
      return fail_path(Errc::not_empty, to, "the directory is not empty");
  }
  if (auto writable = check_writable_locked(); !writable) return writable;
  if (target->name.size() > source->name.size()) {
    if (auto room = need_room(target->name.size() - source->name.size()); !room) return room;
  }
  Change change;
  change.kind = ChangeKind::rename;
  change.parent = source->directory->ino;
  change.parent_to = target->directory->ino;
  change.mtime_ns = realtime_ns();
  change.name = source->name;
  change.name_to = target->name;
  Inode* const still_open = replaced != nullptr && replaced->open != nullptr ? replaced : nullptr;
  make(change, {source->directory, target->directory, moved});
  if (still_open != nullptr) name_lost(*still_open, *target->directory);
  return {};
}

Result<void> VolumeImpl::sync_directory(Issuer& issuer, std::string_view path) {
  std::uint64_t sequence = 0;
  {
    const std::lock_guard guard(metadata_lock_);
    auto place = find_existing(path);
    if (!place) return tl::unexpected<Error>(std::move(place.error()));
    if (place->inode->type != FileType::directory)
      return fail_path(Errc::not_a_directory, path, "is a file; fsync() makes it durable");
    if (read_only_) return {};
    if (auto writable = check_writable_locked(); !writable) return writable;
    sequence = place->inode->dirty_sequence.load(std::memory_order_relaxed);
  }
  if (sequence <= journal_.durable_sequence()) return {};
  return commit_changes_up_to(issuer, sequence);
}

FileInfo VolumeImpl::file_info(const Inode& inode) {
  FileInfo info;
  info.ino = inode.ino;
  info.type = inode.type;
  info.nlink = inode.nlink;
  info.size_bytes = inode.size_bytes.load(std::memory_order_relaxed);
  if (inode.open != nullptr) {
    const CachedInode* const cached = inode.open->cached.load(std::memory_order_acquire);
    if (cached != nullptr) info.size_bytes = cached->space.size();
  }
  const std::lock_guard guard(inode.map_lock);
  info.allocated_bytes = inode.extents.blocks() * fs_block;
  info.extent_count = inode.extents.size();
  info.mtime_ns = inode.mtime_ns;
  return info;
}

Result<FileInfo> VolumeImpl::stat(std::string_view path) const {
  const std::lock_guard guard(metadata_lock_);
  auto place = find_existing(path);
  if (!place) return tl::unexpected<Error>(std::move(place.error()));
  return file_info(*place->inode);
}

Result<std::vector<DirEntry>> VolumeImpl::list(std::string_view path) const {
  const std::lock_guard guard(metadata_lock_);
  auto place = find_existing(path);
  if (!place) return tl::unexpected<Error>(std::move(place.error()));
  if (place->inode->type != FileType::directory)
    return fail_path(Errc::not_a_directory, path, "is a file");
  std::vector<DirEntry> entries;
  entries.reserve(place->inode->entries.size());
  for (const auto& [name, ino] : place->inode->entries) {
    entries.push_back({name, file_info(*metadata_->find(ino))});
  }
  return entries;
}

}  // namespace handback
