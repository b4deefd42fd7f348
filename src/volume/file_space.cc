// A file's blocks: taking them for writes, converting what was written, sizes.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/align.h"
#include "base/context.h"
#include "volume/volume_impl.h"

namespace handback {

IoResult VolumeImpl::allocate_for_write(Inode& inode, std::uint64_t offset, std::uint64_t count,
                                        ExtentMap::Lookup* mapping, bool* made) {
  const std::lock_guard guard(metadata_lock_);
  if (journal_.error()) return IoResult::failure(Errc::poisoned);
  // Another request may have filled the hole since it was looked at. No map_lock: writers of the
  // map hold metadata_lock.
  *mapping = inode.extents.lookup(offset);
  *made = false;
  if (!mapping->hole) return {};
  if (!room_for(snapshot_extent_bytes)) {
    return IoResult::failure(Errc::no_space, IoDetail::metadata_area_full);
  }
  const std::uint64_t wanted =
      std::min({count, mapping->count, std::uint64_t{std::numeric_limits<std::uint32_t>::max()}});
  // All of it or nothing: a write that cannot succeed must not use up what is left.
  if (allocator_->free_blocks() < wanted) return IoResult::failure(Errc::no_space);
  // Behind the block before, so that a file written in order stays in one piece.
  std::uint64_t goal = 0;
  if (offset != 0) {
    const ExtentMap::Lookup before = inode.extents.lookup(offset - 1);
    if (!before.hole) goal = before.extent.addr + (offset - before.offset);
  }
  const std::optional<BlockRun> run = allocator_->allocate(wanted, goal);
  if (!run) return IoResult::failure(Errc::no_space);
  std::vector<BlockRun> freed;
  metadata_->map(inode, offset, Extent{run->addr, static_cast<std::uint32_t>(run->count), true},
                 &freed);
  *mapping = {false, offset, run->count,
              Extent{run->addr, static_cast<std::uint32_t>(run->count), true}};
  *made = true;
  return {};
}

IoResult VolumeImpl::write_settled(Inode& inode, std::uint64_t offset, std::uint64_t end_offset,
                                   bool convert) {
  check_may(Acts::lock);
  const std::lock_guard guard(metadata_lock_);
  if (journal_.error()) return IoResult::failure(Errc::poisoned);
  // A file without a name is nothing that the log or a checkpoint knows of.
  const bool logged = inode.nlink != 0;
  std::uint64_t sequence = 0;
  std::vector<BlockRun> freed;
  if (convert) {
    std::uint64_t block = offset / fs_block;
    const std::uint64_t end = round_up(end_offset, fs_block) / fs_block;
    while (block < end) {
      const ExtentMap::Lookup found = inode.extents.lookup(block);
      const std::uint64_t found_end = std::min(found.offset + found.count, end);
      if (!found.hole && found.extent.unwritten) {
        const Extent written{found.extent.addr + (block - found.offset),
                             static_cast<std::uint32_t>(found_end - block), false};
        metadata_->map(inode, block, written, &freed);
        if (logged) {
          Change change;
          change.kind = ChangeKind::map;
          change.ino = inode.ino;
          change.offset = block;
          change.addr = written.addr;
          change.count = written.count;
          sequence = journal_.append(change);
        }
      }
      block = found_end;
    }
  }
  if (end_offset > inode.size_bytes.load(std::memory_order_relaxed)) {
    const std::int64_t now = realtime_ns();
    metadata_->set_size(inode, end_offset, now, &freed);
    if (logged) {
      Change change;
      change.kind = ChangeKind::set_size;
      change.ino = inode.ino;
      change.size_bytes = end_offset;
      change.mtime_ns = now;
      sequence = journal_.append(change);
    }
  }
  if (sequence != 0) inode.dirty_sequence.store(sequence, std::memory_order_release);
  return {};
}

Result<void> VolumeImpl::set_size(Inode& inode, std::uint64_t size_bytes) {
  const std::lock_guard guard(metadata_lock_);
  if (auto writable = check_writable_locked(); !writable) return writable;
  if (inode.nlink == 0) {
    std::vector<BlockRun> freed;
    metadata_->set_size(inode, size_bytes, realtime_ns(), &freed);
    if (!freed.empty()) journal_.freed(std::move(freed));
  } else {
    Change change;
    change.kind = ChangeKind::set_size;
    change.ino = inode.ino;
    change.size_bytes = size_bytes;
    change.mtime_ns = realtime_ns();
    make(change, {&inode});
  }
  const std::lock_guard append_guard(inode.open->append_lock);
  if (inode.open->appends_in_flight == 0) inode.open->append_end = size_bytes;
  return {};
}

Result<void> VolumeImpl::set_mtime(Inode& inode, std::int64_t mtime_ns) {
  const std::lock_guard guard(metadata_lock_);
  if (auto writable = check_writable_locked(); !writable) return writable;
  if (inode.nlink == 0) {
    inode.mtime_ns = mtime_ns;
    return {};
  }
  Change change;
  change.kind = ChangeKind::set_mtime;
  change.ino = inode.ino;
  change.mtime_ns = mtime_ns;
  make(change, {&inode});
  return {};
}

Result<void> VolumeImpl::preallocate(Inode& inode, std::uint64_t offset, std::uint64_t length) {
  if (offset > file_size_bytes_max || length > file_size_bytes_max - offset) {
    return fail(Errc::too_large,
                fmt::format("a file ends at {} bytes at the latest", file_size_bytes_max));
  }
  const std::lock_guard guard(metadata_lock_);
  if (auto writable = check_writable_locked(); !writable) return writable;
  if (inode.nlink == 0)
    return fail(Errc::not_found, "the file has no name any more; nothing to preallocate for");
  // All space is taken before anything changes, and given back if it is not enough.
  struct Piece {
    std::uint64_t offset;
    Extent extent;
  };
  std::vector<Piece> pieces;
  std::vector<BlockRun> taken;
  std::uint64_t taken_blocks = 0;
  std::uint64_t block = offset / fs_block;
  const std::uint64_t end = round_up(offset + length, fs_block) / fs_block;
  while (block < end) {
    const ExtentMap::Lookup found = inode.extents.lookup(block);
    std::uint64_t found_end = std::min(found.offset + found.count, end);
    if (!found.hole && found.extent.unwritten) {
      // Space that a write in flight took is in memory only so far.
      pieces.push_back({block, Extent{found.extent.addr + (block - found.offset),
                                      static_cast<std::uint32_t>(found_end - block), true}});
    } else if (found.hole) {
      const std::uint64_t goal =
          pieces.empty() ? 0 : pieces.back().extent.addr + pieces.back().extent.count;
      const std::uint64_t wanted =
          std::min(found_end - block, std::uint64_t{std::numeric_limits<std::uint32_t>::max()});
      const auto run = allocator_->allocate(wanted, goal);
      if (run) taken_blocks += run->count;
      if (!run || !room_for(taken_blocks * snapshot_extent_bytes)) {
        if (run) taken.push_back(*run);
        for (const BlockRun& back : taken)
          allocator_->release(back);
        return fail(Errc::no_space,
                    run ? "the volume's metadata area is full; remove files"
                        : "the volume has not enough free space; remove files and sync");
      }
      taken.push_back(*run);
      pieces.push_back({block, Extent{run->addr, static_cast<std::uint32_t>(run->count), true}});
      found_end = block + run->count;
    }
    block = found_end;
  }
  for (const Piece& piece : pieces) {
    Change change;
    change.kind = ChangeKind::map;
    change.ino = inode.ino;
    change.offset = piece.offset;
    change.addr = piece.extent.addr;
    change.count = piece.extent.count;
    change.unwritten = true;
    make(change, {&inode});
  }
  return {};
}

}  // namespace handback
