// Space for a file before it is written: reserved, or initialised with zeros.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/align.h"
#include "base/planted_bug.h"
#include "volume/volume_file.h"

namespace handback {

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
  bool of_writes_in_flight = false;
  std::uint64_t block = offset / fs_block;
  const std::uint64_t end = round_up(offset + length, fs_block) / fs_block;
  while (block < end) {
    const ExtentMap::Lookup found = inode.extents.lookup(block);
    std::uint64_t found_end = std::min(found.offset + found.count, end);
    if (!found.hole && found.extent.unwritten) {
      // Space that a write in flight took is in memory only so far.
      of_writes_in_flight = true;
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
  // Replayed behind the record of such a write, these changes would make it unwritten again: from
  // here on it never was, and is told anew when it settles.
  if (of_writes_in_flight && !planted(PlantedBug::preallocation_undoes_writes))
    journal_.ledger().abandon_unpublished();
  for (const Piece& piece : pieces)
    make(map_change(inode.ino, piece.offset, piece.extent), {&inode});
  return {};
}

Result<void> VolumeImpl::need_space(Inode& inode, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = round_up(offset + length, fs_block) / fs_block;
  std::uint64_t missing = 0;
  const std::lock_guard guard(metadata_lock_);
  for (std::uint64_t block = offset / fs_block; block < end;) {
    const ExtentMap::Lookup found = inode.extents.lookup(block);
    const std::uint64_t found_end = std::min(found.offset + found.count, end);
    if (found.hole) missing += found_end - block;
    block = found_end;
  }
  if (missing <= allocator_->free_blocks()) return {};
  return fail(Errc::no_space, fmt::format("{} blocks are missing and {} are free; remove files and "
                                          "sync",
                                          missing, allocator_->free_blocks()));
}

Result<void> VolumeImpl::initialised(Inode& inode, std::uint64_t block, std::uint64_t end) {
  const std::lock_guard guard(metadata_lock_);
  if (auto writable = check_writable_locked(); !writable) return writable;
  const std::uint64_t sequence = convert(inode, block, end, inode.nlink != 0);
  if (sequence > inode.dirty_sequence.load(std::memory_order_relaxed))
    inode.dirty_sequence.store(sequence, std::memory_order_release);
  return {};
}

Result<void> VolumeFile::Impl::initialise(Issuer& issuer, std::uint64_t offset,
                                          std::uint64_t length) {
  constexpr std::uint64_t zeros_bytes = 1 << 20;
  const DioInflight::Drain drain(inode.open->inflight, issuer, offset, length);
  if (auto reserved = volume.preallocate(inode, offset, length); !reserved) return reserved;
  // What zero_range() left unwritten may belong to a write that is not confirmed.
  if (volume.unconfirmed_in(inode, offset, offset + length) != 0 &&
      !planted(PlantedBug::initialise_zeroes_unconfirmed)) {
    if (auto confirmed = volume.wait_until_confirmed(issuer, inode); !confirmed) return confirmed;
  }
  if (volume.has_checksums()) {
    if (auto begun =
            volume.begin_zeroing(issuer, inode, offset / fs_block, (offset + length) / fs_block);
        !begun) {
      return begun;
    }
  }
  AlignedBuffer zeros(std::min(zeros_bytes, length));
  std::memset(zeros.data(), 0, zeros.size());
  BioGroup group(issuer, volume.device());
  const std::uint64_t end = (offset + length) / fs_block;
  for (std::uint64_t block = offset / fs_block; block < end;) {
    ExtentMap::Lookup found;
    {
      const std::lock_guard guard(inode.map_lock);
      found = inode.extents.lookup(block);
    }
    const std::uint64_t found_end = std::min(found.offset + found.count, end);
    if (!found.hole && found.extent.unwritten && !planted(PlantedBug::initialise_writes_nothing)) {
      std::uint64_t addr = (found.extent.addr + (block - found.offset)) * fs_block;
      for (std::uint64_t left = (found_end - block) * fs_block; left != 0;) {
        const std::uint64_t bytes = std::min<std::uint64_t>(left, zeros.size());
        group.write(addr, zeros.span().first(bytes));
        addr += bytes;
        left -= bytes;
      }
    }
    block = found_end;
  }
  const IoResult written = group.run_and_wait();
  group.keep_if_unanswered(zeros);
  if (volume.has_checksums())
    volume.end_zeroing(inode, offset / fs_block, (offset + length) / fs_block, written.ok());
  if (!written.ok()) {
    volume.write_failed(written);
    return fail(written.code(), "writing zeros failed: " + describe(written));
  }
  return volume.initialised(inode, offset / fs_block, end);
}

Result<void> VolumeFile::Impl::preallocate(Issuer& issuer, std::uint64_t offset,
                                           std::uint64_t length,
                                           const PreallocateOptions& options) {
  if (offset > file_size_bytes_max || length > file_size_bytes_max - offset) {
    return fail(Errc::too_large,
                fmt::format("a file ends at {} bytes at the latest", file_size_bytes_max));
  }
  if (auto thawed = volume.check_not_frozen_here(); !thawed) return thawed;
  if (options.mode == PreallocateMode::reserved) {
    if (auto reserved = volume.preallocate(inode, offset, length); !reserved) return reserved;
  } else {
    if (auto writable = volume.check_writable(); !writable) return writable;
    if (auto space = volume.need_space(inode, offset, length); !space) return space;
    CacheDrain cache(*this, issuer, round_down(offset, fs_block),
                     round_up(offset + length, fs_block));
    if (auto cleaned =
            cache.clean(round_down(offset, fs_block), round_up(offset + length, fs_block));
        !cleaned) {
      return cleaned;
    }
    // In pieces: until they are written, unwritten blocks keep room for metadata back.
    constexpr std::uint64_t piece_bytes = 64 << 20;
    const std::uint64_t end = round_up(offset + length, fs_block);
    for (std::uint64_t at = round_down(offset, fs_block); at < end; at += piece_bytes) {
      if (auto done = initialise(issuer, at, std::min(piece_bytes, end - at)); !done) return done;
    }
  }
  if (!options.extend_size) return {};
  return truncate(issuer, offset + length, Resize::at_least);
}

}  // namespace handback
