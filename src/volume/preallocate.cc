// Space for a file before it is written.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/align.h"
#include "base/planted_bug.h"
#include "volume/volume_impl.h"

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
