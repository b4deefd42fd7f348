// A file's blocks: taking them for writes, converting what was written, sizes.
#include <algorithm>
#include <limits>

#include "base/align.h"
#include "base/context.h"
#include "base/crc32c.h"
#include "base/planted_bug.h"
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

std::uint64_t VolumeImpl::log_write(Inode& inode, const DioStart& start) {
  // Beyond this, the checksums cost more than the round trip.
  constexpr std::uint32_t bytes_max = 256 << 10;
  if (start.bytes > bytes_max) return 0;
  // Before the lock: nobody else changes what is under this range.
  std::vector<WritePiece> pieces;
  const std::uint64_t size = inode.size_bytes.load(std::memory_order_acquire);
  std::uint64_t at = start.offset;
  for (const Bio* bio = start.bios; bio != nullptr; bio = bio->next) {
    ExtentMap::Lookup found;
    {
      const std::lock_guard guard(inode.map_lock);
      found = inode.extents.lookup(at / fs_block);
    }
    if (found.hole) return 0;
    const std::uint64_t offset =
        found.offset * fs_block + (bio->addr - found.extent.addr * fs_block);
    at = offset + bio->length;
    // What lies below the end and was written before needs nothing to be read back.
    if (!found.extent.unwritten && at <= size) continue;
    std::uint32_t crc = 0;
    for (unsigned i = 0; i < bio->segment_count; ++i) {
      const iovec& segment = bio->segments[i];
      crc = crc32c({static_cast<const std::byte*>(segment.iov_base), segment.iov_len}, crc);
    }
    pieces.push_back({.offset = offset,
                      .addr = bio->addr,
                      .length = bio->length,
                      .crc = crc,
                      .maps = found.extent.unwritten});
    if (found.extent.unwritten && (offset | bio->length) % fs_block != 0) return 0;
  }
  if (pieces.empty()) return 0;
  const std::lock_guard guard(metadata_lock_);
  if (inode.nlink == 0) return 0;
  Change change;
  change.kind = ChangeKind::write;
  change.ino = inode.ino;
  change.required_end = start.extending ? start.required_end : 0;
  change.end = start.offset + start.bytes;
  change.mtime_ns = realtime_ns();
  change.pieces = pieces;
  if (!journal_.append_write(change, start.bytes)) return 0;
  if (checksums_ != nullptr) {
    for (const WritePiece& piece : pieces) {
      if (piece.maps)
        note_written({piece.addr / fs_block, piece.length / fs_block}, journal_.newest_sequence());
    }
  }
  return change.write_id;
}

void VolumeImpl::write_data_ended(Issuer& issuer, std::uint64_t write_id, bool ok) noexcept {
  bool go_on = false;
  {
    const std::lock_guard guard(metadata_lock_);
    journal_.ledger().data_ended(write_id, ok);
    go_on = journal_.wants_to_go_on();
  }
  if (go_on) journal_.go_on(Issuer::Impl::executor(issuer.impl()));
}

void VolumeImpl::write_abandoned(std::uint64_t write_id) noexcept {
  const std::lock_guard guard(metadata_lock_);
  journal_.ledger().abandon(write_id);
}

std::uint64_t VolumeImpl::convert(Inode& inode, std::uint64_t block, std::uint64_t end,
                                  bool logged) {
  std::uint64_t sequence = 0;
  std::vector<BlockRun> freed;
  while (block < end) {
    const ExtentMap::Lookup found = inode.extents.lookup(block);
    const std::uint64_t found_end = std::min(found.offset + found.count, end);
    if (!found.hole && found.extent.unwritten) {
      const Extent written{found.extent.addr + (block - found.offset),
                           static_cast<std::uint32_t>(found_end - block), false};
      metadata_->map(inode, block, written, &freed);
      if (logged) {
        sequence = journal_.append(map_change(inode.ino, block, written),
                                   !planted(PlantedBug::initialise_shows_too_early));
        if (checksums_ != nullptr) note_written({written.addr, written.count}, sequence);
      }
    }
    block = found_end;
  }
  return sequence;
}

IoResult VolumeImpl::write_settled(Inode& inode, std::uint64_t offset, std::uint64_t end_offset,
                                   bool convert, std::uint64_t write_id) {
  check_may(Acts::lock);
  const std::lock_guard guard(metadata_lock_);
  if (journal_.error()) return IoResult::failure(Errc::poisoned);
  std::uint64_t sequence = 0;
  // The log says all of it already, unless something came in between.
  const bool known = write_id != 0 && journal_.ledger().publish(write_id, &sequence);
  // A file without a name is nothing that the log or a checkpoint knows of.
  const bool logged = inode.nlink != 0 && !known;
  std::vector<BlockRun> freed;
  if (convert) {
    const std::uint64_t end = round_up(end_offset, fs_block) / fs_block;
    sequence = std::max(sequence, this->convert(inode, offset / fs_block, end, logged));
  }
  if (end_offset > inode.size_bytes.load(std::memory_order_relaxed)) {
    const std::int64_t now = realtime_ns();
    metadata_->set_size(inode, end_offset, now, &freed);
    if (logged) {
      Change change;
      change.kind = ChangeKind::grow;
      change.ino = inode.ino;
      change.size_bytes = end_offset;
      change.mtime_ns = now;
      sequence = journal_.append(change, true);
    }
  }
  if (known) note_unconfirmed(inode, {offset, end_offset, write_id});
  if (sequence > inode.dirty_sequence.load(std::memory_order_relaxed))
    inode.dirty_sequence.store(sequence, std::memory_order_release);
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

}  // namespace handback
