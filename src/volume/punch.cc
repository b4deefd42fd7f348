// Holes in files: blocks freed, or kept and unwritten; the parts of blocks at the edges are zeroed
// in place.
//
// Beside the write ledger: blocks that are freed wait for the confirmation of every write that the
// log names, as those of a truncation do; blocks that are kept are not written to before that
// (unconfirmed_in); and the edges, which are written in place here, wait for it at once. The range
// is drained, so the record of every write in it stands before the change that makes the hole.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/align.h"
#include "base/planted_bug.h"
#include "volume/volume_file.h"

namespace handback {
namespace {

// Part of one fs block that is to read as zeros.
class EdgeCleaner {
 public:
  EdgeCleaner(Issuer& issuer, BlockDevice& device) : issuer_(issuer), device_(device) {}

  // [from, to) of the block at `block_addr` (bytes on the device).
  IoResult zero(std::uint64_t block_addr, std::uint64_t from, std::uint64_t to) {
    const std::uint32_t unit = device_.geometry().logical_block_bytes;
    const std::uint64_t start = round_down(from, unit);
    const std::uint64_t end = round_up(to, unit);
    AlignedBuffer buffer(end - start);
    const auto bytes = buffer.span().first(end - start);
    if (start != from || end != to) {
      BioGroup group(issuer_, device_);
      group.read(block_addr + start, bytes);
      const IoResult read = group.run_and_wait();
      group.keep_if_unanswered(buffer);
      if (!read.ok()) return read;
    }
    std::memset(buffer.data() + (from - start), 0, to - from);
    BioGroup group(issuer_, device_);
    group.write(block_addr + start, bytes);
    const IoResult written = group.run_and_wait();
    group.keep_if_unanswered(buffer);
    return written;
  }

 private:
  Issuer& issuer_;
  BlockDevice& device_;
};

}  // namespace

Result<void> VolumeImpl::unmap(Inode& inode, std::uint64_t offset, std::uint64_t count) {
  const std::lock_guard guard(metadata_lock_);
  if (auto writable = check_writable_locked(); !writable) return writable;
  if (offset != 0) {
    // A hole inside a written extent leaves two of it. (An unwritten one gives up more than that.)
    const ExtentMap::Lookup first = inode.extents.lookup(offset);
    const bool splits = !first.hole && !first.extent.unwritten && first.offset < offset &&
                        first.offset + first.count > offset + count;
    if (splits) {
      if (auto room = need_room(snapshot_extent_bytes, true); !room) return room;
    }
  }
  if (inode.nlink == 0 || planted(PlantedBug::punch_not_logged)) {
    std::vector<BlockRun> freed;
    metadata_->unmap(inode, offset, count, &freed);
    if (!freed.empty()) journal_.freed(std::move(freed));
    return {};
  }
  if (planted(PlantedBug::punch_frees_at_once)) {
    std::vector<BlockRun> freed;
    metadata_->unmap(inode, offset, count, &freed);
    blocks_reusable(freed);
  }
  Change change;
  change.kind = ChangeKind::unmap;
  change.ino = inode.ino;
  change.offset = offset;
  change.block_count = count;
  make(change, {&inode});
  return {};
}

Result<void> VolumeImpl::make_unwritten(Inode& inode, std::uint64_t offset, std::uint64_t count) {
  const std::lock_guard guard(metadata_lock_);
  if (auto writable = check_writable_locked(); !writable) return writable;
  struct Piece {
    std::uint64_t offset;
    Extent extent;
  };
  std::vector<Piece> pieces;
  std::uint64_t blocks = 0;
  const std::uint64_t end = offset + count;
  for (std::uint64_t block = offset; block < end;) {
    const ExtentMap::Lookup found = inode.extents.lookup(block);
    const std::uint64_t found_end = std::min(found.offset + found.count, end);
    if (!found.hole && !found.extent.unwritten) {
      const auto length = static_cast<std::uint32_t>(found_end - block);
      pieces.push_back({block, Extent{found.extent.addr + (block - found.offset), length, true}});
      blocks += length;
    }
    block = found_end;
  }
  if (pieces.empty()) return {};
  // Two extents more at its ends, and each block may become one of its own again.
  if (auto room = need_room((2 + blocks) * snapshot_extent_bytes); !room) return room;
  if (planted(PlantedBug::zero_range_leaves_data) && pieces.size() > 1) pieces.pop_back();
  // Until these changes are durable, a crash brings back blocks that may have been written to
  // since: so their pages are marked in the same record or before it, and writers wait for that.
  if (checksums_ != nullptr) {
    for (const Piece& piece : pieces) {
      const BlockRun run{piece.extent.addr, piece.extent.count};
      mark_stale(run);
      const std::lock_guard checksums_guard(checksums_->lock());
      checksums_->zeroed(run);
    }
  }
  std::vector<BlockRun> freed;
  for (const Piece& piece : pieces) {
    if (inode.nlink == 0 || planted(PlantedBug::zero_range_not_logged)) {
      metadata_->map(inode, piece.offset, piece.extent, &freed);
      continue;
    }
    make(map_change(inode.ino, piece.offset, piece.extent), {&inode});
  }
  return {};
}

Result<void> VolumeFile::Impl::make_hole(Issuer& issuer, std::uint64_t offset, std::uint64_t length,
                                         Hole hole) {
  if (offset > file_size_bytes_max || length > file_size_bytes_max - offset) {
    return fail(Errc::too_large,
                fmt::format("a file ends at {} bytes at the latest", file_size_bytes_max));
  }
  if (auto writable = volume.check_writable(); !writable) return writable;
  if (auto thawed = volume.check_not_frozen_here(); !thawed) return thawed;
  if (length == 0) return {};
  std::uint64_t end = offset + length;
  const std::uint64_t held_start = round_down(offset, fs_block);
  CacheDrain cache(*this, issuer, held_start, round_up(end, fs_block));
  if (auto cleaned = cache.clean(held_start, round_up(end, fs_block)); !cleaned) return cleaned;
  // Also what a read brings in while the hole is made.
  struct Forget {
    CacheDrain& cache;
    ~Forget() { cache.forget(); }
  } const forget{cache};
  std::optional<DioInflight::Drain> drain;
  if (!planted(PlantedBug::punch_without_a_drain)) {
    drain.emplace(inode.open->inflight, issuer, held_start, round_up(end, fs_block) - held_start);
  }
  // What lies behind the end of the file is to read as zeros anyway.
  if (end >= size_bytes()) end = round_up(end, fs_block);
  if (planted(PlantedBug::punch_one_block_too_many)) end = round_up(end, fs_block);
  const std::uint64_t first = round_up(offset, fs_block);
  const std::uint64_t last = round_down(end, fs_block);

  struct Edge {
    std::uint64_t offset;
    std::uint64_t end;
  };
  std::vector<Edge> edges;
  if (first > last) {
    edges.push_back({offset, end});
  } else {
    if (offset < first) edges.push_back({offset, first});
    if (last < end) edges.push_back({last, end});
  }
  if (planted(PlantedBug::punch_keeps_the_edges)) edges.clear();
  if (!edges.empty() && !planted(PlantedBug::punch_zeroes_unconfirmed)) {
    if (auto confirmed = volume.wait_until_confirmed(issuer, inode); !confirmed) return confirmed;
  }
  for (const Edge& edge : edges) {
    const std::uint64_t edge_block = edge.offset / fs_block;
    ExtentMap::Lookup found;
    {
      const std::lock_guard guard(inode.map_lock);
      found = inode.extents.lookup(edge_block);
    }
    if (found.hole || found.extent.unwritten) continue;
    BlockRun blocks;
    if (volume.has_checksums()) {
      if (auto begun = volume.begin_block_and_wait(issuer, inode, edge_block, &blocks); !begun)
        return begun;
    }
    const std::uint64_t addr = (found.extent.addr + (edge_block - found.offset)) * fs_block;
    const IoResult zeroed =
        EdgeCleaner(issuer, volume.device())
            .zero(addr, edge.offset - edge_block * fs_block, edge.end - edge_block * fs_block);
    if (volume.has_checksums()) volume.end_block(blocks, zeroed.ok());
    if (zeroed.ok()) continue;
    volume.write_failed(zeroed);
    return fail(zeroed.code(), fmt::format("zeroing the file's bytes {} to {} failed: {}",
                                           edge.offset, edge.end, describe(zeroed)));
  }
  if (first >= last) return {};
  const std::uint64_t block = first / fs_block;
  const std::uint64_t count = (last - first) / fs_block;
  return hole == Hole::freed ? volume.unmap(inode, block, count)
                             : volume.make_unwritten(inode, block, count);
}

Result<void> VolumeFile::punch(Issuer& issuer, std::uint64_t offset, std::uint64_t length) {
  return impl_->make_hole(issuer, offset, length, Impl::Hole::freed);
}

Result<void> VolumeFile::zero_range(Issuer& issuer, std::uint64_t offset, std::uint64_t length) {
  return impl_->make_hole(issuer, offset, length, Impl::Hole::kept);
}

}  // namespace handback
