#include "volume/replay.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/planted_bug.h"
#include "volume/format.h"
#include "volume/write_ledger.h"

namespace handback {

void Replay::note_head(std::uint64_t confirmed, std::span<const std::uint64_t> voids) {
  confirmed_ = std::max(confirmed_, confirmed);
  voids_.insert(voids.begin(), voids.end());
}

const char* Replay::apply(const Change& change) {
  if (change.kind == ChangeKind::write) return apply_write(change);
  if (change.kind == ChangeKind::overwrite) {
    if (stale_ == nullptr) return "the volume has no checksums of data";
    if (change.page >= checksum_pages_) return "the checksum page does not exist";
    note_stale(data_start_ / fs_block + change.page * checksums_per_page, 1);
    return nullptr;
  }
  std::vector<BlockRun> freed;  // What is free follows from what is used, at the end.
  if (const char* problem = metadata_.apply(change, &freed); problem != nullptr) return problem;
  if (change.kind == ChangeKind::map && !change.unwritten) note_stale(change.addr, change.count);
  if (change.kind == ChangeKind::grow) {
    if (Inode* inode = metadata_.find(change.ino); inode != nullptr) publish_waiting(*inode);
  } else if (change.kind == ChangeKind::set_size) {
    // Whoever sets a size has waited for the writes before: these are not there for good.
    waiting_.erase(change.ino);
  }
  return nullptr;
}

const char* Replay::problem_with(const Change& change,
                                 const std::vector<WritePiece>& pieces) const noexcept {
  if (change.write_id != next_write_id_) return "the writes' numbers do not rise by one";
  if (change.end > file_size_bytes_max) return "the write ends beyond the largest file";
  std::uint64_t length = 0;
  for (const WritePiece& piece : pieces) {
    if (piece.length == 0 || piece.length > data_end_ ||
        ((piece.addr < data_start_ || piece.addr > data_end_ - piece.length) &&
         !planted(PlantedBug::replay_piece_place_unchecked))) {
      return "a piece of the write lies outside the data area";
    }
    if (piece.offset > file_size_bytes_max || piece.length > file_size_bytes_max - piece.offset)
      return "a piece of the write lies beyond the largest file";
    const std::uint64_t unit = piece.maps ? fs_block : 512;
    if ((piece.offset | piece.addr | piece.length) % unit != 0)
      return "a piece of the write is not aligned";
    length += piece.length;
  }
  if (length > WriteLedger::data_bytes_max) return "the write is too long";
  return nullptr;
}

const char* Replay::apply_write(const Change& change) {
  Write write{.change = change, .pieces = change_pieces(change)};
  if (const char* problem = problem_with(change, write.pieces); problem != nullptr) return problem;
  next_write_id_ = change.write_id + 1;
  // Whatever becomes of it: the writer took its page for stale.
  for (const WritePiece& piece : write.pieces) {
    if (piece.maps) note_stale(piece.addr / fs_block, piece.length / fs_block);
  }
  if (voids_.contains(change.write_id) && !planted(PlantedBug::replay_applies_voids))
    return nullptr;
  Inode* inode = metadata_.find(change.ino);
  // It had a name when the write began; nothing can have taken that away before this.
  if (inode == nullptr || inode->type != FileType::regular) return "the inode is no file";
  if (change.write_id > confirmed_ && !planted(PlantedBug::replay_ignores_data_checksums)) {
    for (const WritePiece& piece : write.pieces)
      checked_bytes_ += piece.length;
    if (++checked_count_ > 2 * WriteLedger::writes_max ||
        checked_bytes_ > 8 * WriteLedger::data_bytes_max) {
      return "there are more unconfirmed writes than can be in flight";
    }
    // No block is written to again before the write to it was confirmed.
    if (checked_bytes_ > data_end_ - data_start_)
      return "the unconfirmed writes name more data than the volume has room for";
    if (!data_is_there(write.pieces)) return nullptr;
  }
  if (inode->size_bytes.load(std::memory_order_relaxed) < change.required_end &&
      !planted(PlantedBug::replay_ignores_required_end)) {
    waiting_[change.ino].push_back(std::move(write));
    return nullptr;
  }
  publish(*inode, write);
  publish_waiting(*inode);
  return nullptr;
}

bool Replay::data_is_there(const std::vector<WritePiece>& pieces) {
  for (const WritePiece& piece : pieces) {
    AlignedBuffer bytes(piece.length);
    if (!read_(piece.addr, bytes.span())) {
      read_failed_ = true;
      return false;
    }
    if (crc32c(bytes.span().first(piece.length)) != piece.crc) return false;
  }
  return true;
}

void Replay::publish(Inode& inode, const Write& write) {
  std::vector<BlockRun> freed;
  for (const WritePiece& piece : write.pieces) {
    if (!piece.maps) continue;
    metadata_.map(inode, piece.offset / fs_block,
                  Extent{piece.addr / fs_block, piece.length / fs_block, false}, &freed);
  }
  if (write.change.end > inode.size_bytes.load(std::memory_order_relaxed))
    metadata_.set_size(inode, write.change.end, write.change.mtime_ns, &freed);
  if (write.change.write_id > confirmed_) applied_.insert(write.change.write_id);
}

// What lies outside the data area is for the loader to refuse.
void Replay::note_stale(std::uint64_t addr, std::uint64_t count) {
  if (stale_ == nullptr) return;
  const std::uint64_t start = std::max(addr, data_start_ / fs_block);
  const std::uint64_t end = std::min(addr + count, data_end_ / fs_block);
  if (start < end) stale_->push_back({start, end - start});
}

void Replay::publish_waiting(Inode& inode) {
  const auto found = waiting_.find(inode.ino);
  if (found == waiting_.end()) return;
  std::vector<Write>& writes = found->second;
  for (std::size_t i = 0; i < writes.size();) {
    if (inode.size_bytes.load(std::memory_order_relaxed) < writes[i].change.required_end) {
      ++i;
      continue;
    }
    publish(inode, writes[i]);
    writes.erase(writes.begin() + static_cast<std::ptrdiff_t>(i));
    i = 0;  // The file has grown: an earlier one may follow.
  }
}

std::vector<std::uint64_t> Replay::dropped() const {
  std::vector<std::uint64_t> ids;
  for (std::uint64_t id = confirmed_ + 1; id < next_write_id_; ++id) {
    if (!applied_.contains(id)) ids.push_back(id);
  }
  return ids;
}

}  // namespace handback
