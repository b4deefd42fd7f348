// Writes whose record is durable but not confirmed yet (write_ledger.h): nobody may touch their
// blocks in place.
#include <algorithm>

#include "base/align.h"
#include "base/planted_bug.h"
#include "volume/volume_impl.h"

namespace handback {

std::uint64_t VolumeImpl::unconfirmed_in(Inode& inode, std::uint64_t offset,
                                         std::uint64_t end) const noexcept {
  const std::uint64_t confirmed = journal_.ledger().durable_confirmed();
  if (inode.newest_write_id.load(std::memory_order_acquire) <= confirmed) [[likely]]
    return 0;
  if (planted(PlantedBug::journal_confirm_not_awaited)) return 0;
  const std::lock_guard guard(inode.map_lock);
  std::uint64_t newest = 0;
  for (const UnconfirmedWrite& write : inode.unconfirmed) {
    if (write.id > confirmed && write.offset < end && offset < write.end)
      newest = std::max(newest, write.id);
  }
  return newest;
}

void VolumeImpl::note_unconfirmed(Inode& inode, const UnconfirmedWrite& write) {
  const std::uint64_t confirmed = journal_.ledger().durable_confirmed();
  const std::lock_guard guard(inode.map_lock);
  std::erase_if(inode.unconfirmed,
                [&](const UnconfirmedWrite& old) { return old.id <= confirmed; });
  // Of a block that it began, the record has the checksum of all of it, zeros included.
  inode.unconfirmed.push_back(
      {round_down(write.offset, fs_block), round_up(write.end, fs_block), write.id});
  if (write.id > inode.newest_write_id.load(std::memory_order_relaxed))
    inode.newest_write_id.store(write.id, std::memory_order_release);
}

Result<void> VolumeImpl::wait_until_confirmed(Issuer& issuer, Inode& inode) {
  const std::uint64_t id = inode.newest_write_id.load(std::memory_order_acquire);
  if (id <= journal_.ledger().durable_confirmed()) return {};
  return commit_up_to(issuer, journal_.durable_sequence(), id);
}

}  // namespace handback
