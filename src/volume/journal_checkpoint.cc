// Checkpoints: taken and written a slice at a time while the log goes on, then two roots.
#include "volume/journal_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/planted_bug.h"
#include "volume/meta_block.h"

namespace handback {

void Journal::start_checkpoint(Issuer::Impl& issuer, Lock& lock) {
  checkpoint_wanted_ = false;
  seal_open();
  checkpoint_ = std::make_unique<Checkpoint>();
  Checkpoint& point = *checkpoint_;
  point.leader = &issuer;
  point.covers_sequence = open_.sequence - 1;
  if (point.covers_sequence == durable_sequence_) point.end_position = head_;
  // What is not published is not contained, and its records end here: it will be told anew.
  ledger_.abandon_unpublished();
  point.confirms = ledger_.newest();
  // From here on nothing of the metadata may change before the snapshot has begun, or what it
  // covers, what it confirms and what it contains were not of one moment.
  const std::uint64_t bytes = client_.begin_snapshot();
  if (bytes > snapshot_bytes_max(layout_)) {
    // The account of the area is kept so that this cannot be; if it is, saying so is all that is
    // left.
    client_.end_snapshot();
    checkpoint_.reset();
    fail(IoResult::failure(Errc::no_space, IoDetail::metadata_area_full), lock);
    return;
  }
  point.root = Root{.generation = generation_ + 1,
                    .slot = 1 - slot_,
                    .checkpoint_bytes = 0,
                    .log_position = 0,
                    .log_sequence = point.covers_sequence + 1,
                    .next_write_id = point.confirms + 1,
                    .oldest_minor = oldest_minor_};
  if (layout_.checksum_pages != 0) point.step = Checkpoint::Step::pages;
  point.leader->begin_background();
  point.slice.journal = this;
  point.slice.run = &Journal::checkpoint_slice;
  point.leader->post(point.slice);
  // Records that the checkpoint covers may still be wanted, and can go on meanwhile.
  pump(issuer, lock);
}

// One slice, then the next one comes as work again, so that others have their turn in between.
void Journal::checkpoint_slice(IssuerWork& work) noexcept {
  Journal& journal = *static_cast<Checkpoint::Slice&>(work).journal;
  bool pages = false;
  {
    Lock lock(journal.metadata_lock_);
    Checkpoint& point = *journal.checkpoint_;
    lead_from_here(point.leader);
    if (journal.error_) {
      journal.checkpoint_give_up();
      return;
    }
    pages = point.step == Checkpoint::Step::pages;
    if (pages) {
      point.pages.clear();
      point.pages_left = journal.client_.checksum_pages(checkpoint_piece_blocks, point.pages);
    }
  }
  if (pages && journal.checkpoint_write_pages()) return;
  {
    Lock lock(journal.metadata_lock_);
    Checkpoint& point = *journal.checkpoint_;
    if (!point.taken) {
      const std::size_t before = point.payload.size();
      point.taken = !journal.client_.snapshot_slice(checkpoint_slice_bytes, point.payload);
      point.root.checkpoint_bytes += point.payload.size() - before;
      if (point.taken) journal.client_.end_snapshot();
    }
  }
  // The checksums without the lock: nobody else touches these.
  journal.checkpoint_seal_blocks(journal.checkpoint_->taken);
  journal.checkpoint_write_piece();
}

// Writes what was taken of the checksums' pages to where they are at home. False: there was
// nothing, and nothing of them is left.
bool Journal::checkpoint_write_pages() {
  Checkpoint& point = *checkpoint_;
  if (point.pages.empty()) {
    point.step = Checkpoint::Step::write;
    return false;
  }
  point.group = std::make_unique<BioGroup>(point.leader->self(), device_);
  // Neighbours in one write.
  for (std::size_t from = 0, to = 0; from < point.pages.size(); from = to) {
    const std::uint64_t first = point.pages[from].page;
    for (; to < point.pages.size() && point.pages[to].page == first + (to - from); ++to) {
      checksum_page_encode(point.pages[to].entries, volume_id_, layout_, point.pages[to].page,
                           point.piece.span().subspan(to * fs_block, fs_block));
    }
    point.group->write((layout_.checksum_start + first) * fs_block,
                       point.piece.span().subspan(from * fs_block, (to - from) * fs_block));
  }
  point.group->start(&Journal::checkpoint_step_ended, this);
  return true;
}

// Makes blocks of what was taken, as far as the piece has room; the last may be short.
void Journal::checkpoint_seal_blocks(bool last) {
  Checkpoint& point = *checkpoint_;
  std::size_t from = 0;
  while (point.piece_used < checkpoint_piece_blocks) {
    const std::size_t length = std::min(meta_payload_bytes_max, point.payload.size() - from);
    if (length == 0 || (length < meta_payload_bytes_max && !last)) break;
    const std::uint64_t index = point.blocks_written + point.piece_used;
    const auto block = point.piece.span().subspan(point.piece_used * fs_block, fs_block);
    std::fill(block.begin(), block.end(), std::byte{0});
    std::memcpy(block.data() + meta_header_bytes, point.payload.data() + from, length);
    meta_seal(block, MetaHeader{.type = MetaType::checkpoint,
                                .volume_id = volume_id_,
                                .address = layout_.slot_start[point.root.slot] + index,
                                .generation = point.root.generation,
                                .sequence = index,
                                .payload_bytes = static_cast<std::uint32_t>(length)});
    from += length;
    ++point.piece_used;
  }
  point.payload.erase(point.payload.begin(),
                      point.payload.begin() + static_cast<std::ptrdiff_t>(from));
}

// Writes the piece if it is full, or the last; else the next slice comes first.
void Journal::checkpoint_write_piece() {
  Checkpoint& point = *checkpoint_;
  const bool full =
      point.piece_used == checkpoint_piece_blocks || (point.taken && point.payload.empty());
  if (!full) {
    point.leader->post(point.slice);
    return;
  }
  const std::uint64_t start = layout_.slot_start[point.root.slot] + point.blocks_written;
  point.group = std::make_unique<BioGroup>(point.leader->self(), device_);
  point.group->write(start * fs_block, point.piece.span().first(point.piece_used * fs_block));
  point.group->start(&Journal::checkpoint_step_ended, this);
}

// Lock held. Requires: nothing of it is in flight, or posted.
void Journal::checkpoint_give_up() noexcept {
  if (!checkpoint_->taken) client_.end_snapshot();
  Issuer::Impl& leader = *checkpoint_->leader;
  checkpoint_.reset();
  root_being_written_ = false;
  leader.end_background();
}

void Journal::checkpoint_step_ended(BioGroup& group, void* owner) noexcept {
  auto& journal = *static_cast<Journal*>(owner);
  const IoResult result = group.result();
  Lock lock(journal.metadata_lock_);
  Checkpoint& point = *journal.checkpoint_;
  lead_from_here(point.leader);
  Issuer::Impl& leader = *point.leader;
  // After a failure elsewhere, too: a checkpoint must not make visible what a failed flush left
  // behind.
  if (!result.ok() || journal.error_) {
    group.keep_if_unanswered(point.piece);
    group.keep_if_unanswered(point.root_block);
    journal.checkpoint_give_up();
    journal.fail(result, lock);
    return;
  }
  if (point.step == Checkpoint::Step::pages) {
    if (!point.pages_left) point.step = Checkpoint::Step::write;
    leader.post(point.slice);
    return;
  }
  if (point.step == Checkpoint::Step::write && !(point.taken && point.payload.empty())) {
    point.blocks_written += std::exchange(point.piece_used, 0);
    leader.post(point.slice);
    return;
  }
  const bool volatile_cache = journal.device_.geometry().volatile_cache;
  if (point.step == Checkpoint::Step::write && volatile_cache &&
      !planted(PlantedBug::journal_root_before_checkpoint)) {
    // Before the root: the checkpoint itself, and all data that it makes visible.
    point.step = Checkpoint::Step::flush;
    point.group = std::make_unique<BioGroup>(leader.self(), journal.device_);
    point.group->flush();
    lock.unlock();
    point.group->start(&Journal::checkpoint_step_ended, &journal);
    return;
  }
  if (point.step == Checkpoint::Step::write || point.step == Checkpoint::Step::flush) {
    point.step = Checkpoint::Step::wait_for_record;
    journal.pump(leader, lock);
    return;
  }
  if (volatile_cache && !journal.device_.geometry().fua && !point.started_root_step) {
    point.started_root_step = true;
    point.group = std::make_unique<BioGroup>(leader.self(), journal.device_);
    point.group->flush();
    lock.unlock();
    point.group->start(&Journal::checkpoint_step_ended, &journal);
    return;
  }
  if (point.step == Checkpoint::Step::first_root) {
    point.step = Checkpoint::Step::second_root;
    journal.checkpoint_root_durable();
    journal.checkpoint_write_root(lock);
    lock.lock();
    journal.pump(leader, lock);
    return;
  }
  journal.checkpoint_finished(lock);
}

// Writes one of the two roots. While the first is on its way no record is written: where the log
// starts must not move. Leaves the lock released.
void Journal::checkpoint_write_root(Lock& lock) {
  Checkpoint& point = *checkpoint_;
  if (point.step == Checkpoint::Step::wait_for_record) {
    point.step = Checkpoint::Step::first_root;
    root_being_written_ = true;
    // Records that it covers but that were not written (a full log) never will be: the log goes on
    // after them.
    point.root.log_position = point.end_position.value_or(head_);
  }
  point.started_root_step = false;
  const bool first = point.step == Checkpoint::Step::first_root;
  const std::uint64_t block =
      root_blocks[first != planted(PlantedBug::journal_good_root_first) ? root_first_
                                                                        : 1 - root_first_];
  root_encode(point.root, volume_id_, block, point.root_block.span());
  point.group = std::make_unique<BioGroup>(point.leader->self(), device_);
  point.group->write(block * fs_block, point.root_block.span(), device_.geometry().fua);
  BioGroup* group = point.group.get();
  lock.unlock();
  group->start(&Journal::checkpoint_step_ended, this);
}

// The first root is durable: the checkpoint counts. Lock held.
void Journal::checkpoint_root_durable() {
  Checkpoint& point = *checkpoint_;
  root_being_written_ = false;
  generation_ = point.root.generation;
  slot_ = point.root.slot;
  tail_ = point.root.log_position;
  client_.checkpoint_durable();
  ledger_.record_durable(point.covers_sequence);
  confirmed_durably(point.confirms);
  while (!sealed_.empty() && sealed_.front().sequence <= point.covers_sequence) {
    release(std::move(sealed_.front().freed), sealed_.front().freed_confirm_id);
    sealed_.pop_front();
  }
  if (sealed_.empty() && open_.change_count == 0) oldest_uncommitted_ns_ = 0;
  if (durable_sequence_ < point.covers_sequence) durable_sequence_ = point.covers_sequence;
}

// Both roots are durable: the other checkpoint area is free for the next one. Leaves the lock
// released.
void Journal::checkpoint_finished(Lock& lock) {
  Issuer::Impl& leader = *checkpoint_->leader;
  checkpoint_.reset();
  CommitWaiter* finished = take_finished();
  // Unless someone asked for one after this one's contents were taken: then theirs is the next.
  CommitWaiter* checkpointed =
      checkpoint_wanted_ ? nullptr : std::exchange(checkpoint_waiters_, nullptr);
  pump(leader, lock);
  leader.end_background();
  call(finished, IoResult::success(0));
  call(checkpointed, IoResult::success(0));
}

}  // namespace handback
