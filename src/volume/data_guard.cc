// Checksums of data: pages are marked stale before data is overwritten, checksums are taken of what
// is written, and what is read is held against them.
#include <fmt/format.h>

#include <algorithm>

#include "base/align.h"
#include "base/crc32c.h"
#include "base/planted_bug.h"
#include "dio/segment_cursor.h"
#include "volume/volume_file.h"
#include "volume/write_prelude.h"

namespace handback {
namespace {

// Calls each(run on the device, unwritten) for what is mapped of the file's [block, end). Requires:
// the map cannot change meanwhile.
template <typename Each>
void for_mapped(const ExtentMap& extents, std::uint64_t block, std::uint64_t end, Each each) {
  while (block < end) {
    const ExtentMap::Lookup found = extents.lookup(block);
    const std::uint64_t found_end = std::min(found.offset + found.count, end);
    if (!found.hole)
      each(BlockRun{found.extent.addr + (block - found.offset), found_end - block},
           found.extent.unwritten);
    block = found_end;
  }
}

}  // namespace

std::uint64_t VolumeImpl::mark_stale(const BlockRun& run) {
  const std::lock_guard guard(checksums_->lock());
  return checksums_->mark(run, journal_.durable_sequence(), [this](std::uint64_t page) {
    Change change;
    change.kind = ChangeKind::overwrite;
    change.page = page;
    return journal_.append(change);
  });
}

void VolumeImpl::note_written(const BlockRun& run, std::uint64_t sequence) {
  const std::lock_guard guard(checksums_->lock());
  checksums_->implied(run, sequence);
}

IoResult VolumeImpl::begin_data(Inode& inode, std::uint64_t block, std::uint64_t end,
                                BlockRun* begun) noexcept {
  {
    const std::lock_guard guard(inode.map_lock);
    // Asked and begun under one lock: in between a checkpoint could call a page clean.
    const std::lock_guard checksums_guard(checksums_->lock());
    bool ready = true;
    // A block that is unwritten in memory needs no mark: durable metadata calls it written only if
    // it has lost its data since, and whoever did that has marked the page (make_unwritten).
    for_mapped(inode.extents, block, end, [&](const BlockRun& run, bool unwritten) {
      ready = ready && checksums_->ready(run, !unwritten, journal_.durable_sequence());
    });
    if (ready) {
      for_mapped(inode.extents, block, end, [&](const BlockRun& run, bool /*unwritten*/) {
        checksums_->begin(run);
        if (begun != nullptr) *begun = run;
      });
      return {};
    }
  }
  {
    const std::lock_guard guard(metadata_lock_);
    if (journal_.error()) return IoResult::failure(Errc::poisoned);
    std::uint64_t newest = 0;
    // No map_lock: writers of the map hold metadata_lock.
    for_mapped(inode.extents, block, end, [&](const BlockRun& run, bool unwritten) {
      if (unwritten) {
        const std::lock_guard checksums_guard(checksums_->lock());
        newest = std::max(newest, checksums_->awaited(run, journal_.durable_sequence()));
      } else {
        newest = std::max(newest, mark_stale(run));
      }
    });
    // Under metadata_lock only.
    if (newest > inode.open->mark_sequence.load(std::memory_order_relaxed))
      inode.open->mark_sequence.store(newest, std::memory_order_release);
  }
  if (planted(PlantedBug::overwrite_mark_not_durable)) return begin_data(inode, block, end, begun);
  return IoResult::failure(Errc::would_block);
}

void VolumeImpl::take_checksums(const Bio* bios) noexcept {
  if (planted(PlantedBug::checksum_of_old_data)) return;
  // A block may be spread over several bios.
  std::uint64_t at = 0;  // Byte on the device up to which `crc` reaches.
  std::uint32_t crc = 0;
  bool whole = false;  // From the block's first byte on.
  for (const Bio* bio = bios; bio != nullptr; bio = bio->next) {
    if (bio->addr != at) {
      at = bio->addr;
      whole = false;
    }
    for (unsigned i = 0; i < bio->segment_count; ++i) {
      const auto* from = static_cast<const std::byte*>(bio->segments[i].iov_base);
      std::size_t left = bio->segments[i].iov_len;
      while (left != 0) {
        if (at % fs_block == 0) {
          crc = 0;
          whole = true;
        }
        const std::size_t length = std::min<std::size_t>(left, fs_block - at % fs_block);
        crc = crc32c({from, length}, crc);
        from += length;
        left -= length;
        at += length;
        if (whole && at % fs_block == 0) checksums_->set(at / fs_block - 1, data_checksum_of(crc));
      }
    }
  }
}

void VolumeImpl::end_data(Inode& inode, std::uint64_t block, std::uint64_t end, bool ok) noexcept {
  const std::lock_guard guard(inode.map_lock);
  const std::lock_guard checksums_guard(checksums_->lock());
  // Nobody has mapped these blocks elsewhere meanwhile: that takes their range.
  for_mapped(inode.extents, block, end,
             [&](const BlockRun& run, bool /*unwritten*/) { checksums_->end(run, ok); });
}

Result<void> VolumeImpl::begin_block_and_wait(Issuer& issuer, Inode& inode, std::uint64_t block,
                                              BlockRun* blocks) {
  // A checkpoint that comes in between makes another mark necessary; they do not come that often.
  for (;;) {
    const IoResult begun = begin_data(inode, block, block + 1, blocks);
    if (begun.ok()) return {};
    if (begun.code() != Errc::would_block) return check_writable();
    const std::uint64_t mark = inode.open->mark_sequence.load(std::memory_order_acquire);
    if (auto marked = commit_changes_up_to(issuer, mark); !marked) return marked;
  }
}

void VolumeImpl::end_block(const BlockRun& begun, bool ok) noexcept {
  const std::lock_guard guard(checksums_->lock());
  checksums_->end(begun, ok);
}

Result<void> VolumeImpl::begin_zeroing(Issuer& issuer, Inode& inode, std::uint64_t block,
                                       std::uint64_t end) {
  for (;;) {
    std::uint64_t newest = 0;
    {
      const std::lock_guard guard(inode.map_lock);
      const std::lock_guard checksums_guard(checksums_->lock());
      const std::uint64_t durable = journal_.durable_sequence();
      for_mapped(inode.extents, block, end, [&](const BlockRun& run, bool unwritten) {
        if (unwritten) newest = std::max(newest, checksums_->awaited(run, durable));
      });
      if (newest == 0) {
        for_mapped(inode.extents, block, end, [&](const BlockRun& run, bool unwritten) {
          if (unwritten) checksums_->begin(run);
        });
        return {};
      }
    }
    if (auto marked = commit_changes_up_to(issuer, newest); !marked) return marked;
  }
}

void VolumeImpl::end_zeroing(Inode& inode, std::uint64_t block, std::uint64_t end,
                             bool ok) noexcept {
  static const std::uint32_t of_zeros = data_checksum({zero_block, fs_block});
  const std::lock_guard guard(inode.map_lock);
  const std::lock_guard checksums_guard(checksums_->lock());
  for_mapped(inode.extents, block, end, [&](const BlockRun& run, bool unwritten) {
    if (!unwritten) return;
    checksums_->fill(run, of_zeros);
    checksums_->end(run, ok);
  });
}

bool VolumeImpl::data_fits(const Inode& inode, std::uint64_t offset, IovView iov,
                           std::uint64_t bytes) const noexcept {
  if (planted(PlantedBug::checksum_not_verified)) return true;
  const std::uint64_t first = round_up(offset, fs_block) / fs_block;
  const std::uint64_t end = (offset + bytes) / fs_block;
  if (first >= end) return true;
  SegmentCursor cursor(iov);
  cursor.skip(first * fs_block - offset);
  // The map is as it was when the read began, where it was of written blocks: whatever takes them
  // away or writes to them needs the range, which the read still holds. A hole that became
  // unwritten space meanwhile has nothing to be verified either way.
  for (std::uint64_t block = first; block < end;) {
    ExtentMap::Lookup found;
    {
      const std::lock_guard guard(inode.map_lock);
      found = inode.extents.lookup(block);
    }
    const std::uint64_t found_end = std::min(found.offset + found.count, end);
    if (found.hole || found.extent.unwritten) {
      cursor.skip((found_end - block) * fs_block);
      block = found_end;
      continue;
    }
    for (; block < found_end; ++block) {
      const std::uint32_t known = checksums_->find(found.extent.addr + (block - found.offset));
      if (known == 0) {
        cursor.skip(fs_block);
        continue;
      }
      std::uint32_t crc = 0;
      for (std::size_t left = fs_block; left != 0;) {
        const iovec piece = cursor.take(left);
        crc = crc32c({static_cast<const std::byte*>(piece.iov_base), piece.iov_len}, crc);
        left -= piece.iov_len;
      }
      if (data_checksum_of(crc) != known) return false;
    }
  }
  return true;
}

Result<void> VolumeImpl::clean_tail_and_wait(Issuer& issuer, Inode& inode,
                                             std::uint64_t held_offset, IoResult* result) {
  BlockRun blocks;
  if (checksums_ != nullptr) {
    if (auto begun = begin_block_and_wait(issuer, inode, held_offset / fs_block, &blocks); !begun)
      return begun;
  }
  TailCleaner cleaner(issuer.impl(), device_, inode, held_offset);
  const IoResult cleaned = cleaner.run_and_wait();
  if (checksums_ != nullptr) end_block(blocks, cleaned.ok());
  if (result != nullptr) *result = cleaned;
  if (cleaned.ok()) return {};
  tail_failed(*this, cleaner);
  return fail(cleaned.code(), "zeroing the file's tail failed: " + describe(cleaned));
}

}  // namespace handback
