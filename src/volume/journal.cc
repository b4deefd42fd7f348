#include "volume/journal.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/planted_bug.h"
#include "volume/journal_checkpoint.h"
#include "volume/meta_block.h"

namespace handback {
namespace {

// A record is sealed at about this size even if nobody asks: it bounds what one write must carry
// and keeps any record far below the log's size (256 KiB at least).
constexpr std::size_t record_changes_bytes_max = 32 << 10;

IoResult poisoned() noexcept {
  return IoResult::failure(Errc::poisoned);
}

}  // namespace

Journal::Journal(BlockDevice& device, const Superblock& superblock, const Root& root,
                 std::uint64_t log_head, std::uint64_t next_sequence, std::uint64_t next_write_id,
                 JournalClient& client, RankedMutex& metadata_lock, Environment& environment)
    : device_(device),
      volume_id_(superblock.volume_id),
      layout_(superblock.layout),
      client_(client),
      metadata_lock_(metadata_lock),
      environment_(environment),
      durable_sequence_(next_sequence - 1),
      ledger_(next_write_id),
      head_(log_head),
      tail_(root.log_position),
      generation_(root.generation),
      slot_(root.slot),
      root_first_(root.write_first),
      oldest_minor_(std::min(root.oldest_minor, format_version_minor)) {
  open_.sequence = next_sequence;
  ledger_.record_durable(next_sequence - 1);
  plug_.journal = this;
  plug_.run = [](IssuerWork& work) noexcept {
    Plug& plug = static_cast<Plug&>(work);
    Journal& journal = *plug.journal;
    Lock lock(journal.metadata_lock_);
    Issuer::Impl& posted = *std::exchange(plug.issuer, nullptr);
    journal.wanted_sequence_ = std::max(journal.wanted_sequence_, journal.newest_sequence());
    if (journal.error_) {
      lock.unlock();
    } else {
      journal.pump(Issuer::Impl::executor(posted), lock);
    }
    posted.end_background();
  };
}

Journal::~Journal() {
  HB_ASSERT(!busy(), "a journal goes when nothing of it is in flight");
}

// --- collecting ---

std::uint64_t Journal::append(const Change& change, bool shows_data) {
  if (open_.changes.size() >= record_changes_bytes_max) seal_open();
  if (oldest_uncommitted_ns_ == 0) {
    oldest_uncommitted_ns_ = environment_.monotonic_ns();
    client_.uncommitted();
  }
  change_encode(change, open_.changes);
  ++open_.change_count;
  open_.flush_before |= shows_data;
  return open_.sequence;
}

bool Journal::append_write(Change& change, std::uint64_t data_bytes) {
  if (error_ || held_ || !ledger_.has_room(data_bytes)) return false;
  change.write_id = ledger_.next_id();
  ledger_.add(append(change), data_bytes);
  return true;
}

bool Journal::wants_to_go_on() const noexcept {
  return (writing_ && write_step_ == WriteStep::await_data &&
          !ledger_.data_pending(current_.sequence)) ||
         confirm_wanted();
}

void Journal::release(std::vector<BlockRun>&& runs, std::uint64_t confirm_id) {
  if (confirm_id > ledger_.durable_confirmed() && !planted(PlantedBug::journal_reuse_unconfirmed)) {
    held_blocks_.push_back({confirm_id, std::move(runs)});
    return;
  }
  for (const BlockRun& run : runs)
    blocks_waiting_ -= run.count;
  client_.blocks_reusable(runs);
}

void Journal::confirmed_durably(std::uint64_t id) {
  ledger_.confirm_durable(id);
  std::vector<HeldBlocks> held = std::exchange(held_blocks_, {});
  for (HeldBlocks& blocks : held)
    release(std::move(blocks.runs), blocks.confirm_id);
}

void Journal::freed(std::vector<BlockRun>&& runs) {
  // With the newest record that exists; if every change is durable, they wait for nothing.
  for (const BlockRun& run : runs)
    blocks_waiting_ += run.count;
  Sealed* with = nullptr;
  if (planted(PlantedBug::journal_reuse_at_once)) {
    // Nobody waits.
  } else if (open_.change_count != 0) {
    with = &open_;
  } else if (!sealed_.empty()) {
    with = &sealed_.back();
  } else if (writing_) {
    with = &current_;
  }
  if (with == nullptr) {
    release(std::move(runs), ledger_.newest());
    return;
  }
  with->freed.insert(with->freed.end(), runs.begin(), runs.end());
  with->freed_confirm_id = ledger_.newest();
}

Issuer::Impl* Journal::leader() const noexcept {
  if (writing_) return leader_;
  if (plug_.issuer != nullptr && checkpoint_ == nullptr) return plug_.issuer;
  return checkpoint_ != nullptr ? checkpoint_->leader : nullptr;
}

std::uint64_t Journal::newest_sequence() const noexcept {
  return open_.change_count != 0 ? open_.sequence : open_.sequence - 1;
}

void Journal::lead_from_here(Issuer::Impl*& leader) noexcept {
  Issuer::Impl& here = Issuer::Impl::executor(*leader);
  if (&here == leader) return;
  here.begin_background();
  std::exchange(leader, &here)->end_background();
}

void Journal::seal_open(bool even_if_empty) {
  if (open_.change_count == 0 && !even_if_empty) return;
  const std::uint64_t next = open_.sequence + 1;
  sealed_.push_back(std::move(open_));
  open_ = Sealed{};
  open_.sequence = next;
}

// --- committing ---

Outcome Journal::commit(Issuer::Impl& issuer, CommitWaiter& waiter) {
  Lock lock(metadata_lock_);
  if (error_) return poisoned();
  if (ended(waiter)) return IoResult::success(0);
  bool under_way = (writing_ && waiter.sequence <= current_.sequence) ||
                   (checkpoint_ != nullptr && waiter.sequence <= checkpoint_->covers_sequence);
  if (!under_way && !waiter.data_is_durable && device_.geometry().volatile_cache &&
      device_.geometry().fua) {
    // The record alone is written through the cache; with a flush before it, so is what came
    // before.
    if (waiter.sequence == open_.sequence && open_.change_count != 0) {
      open_.flush_before = true;
    } else {
      const auto at = std::find_if(sealed_.begin(), sealed_.end(), [&](const Sealed& record) {
        return record.sequence == waiter.sequence;
      });
      if (at != sealed_.end()) {
        at->flush_before = true;
      } else {
        under_way = true;
      }
    }
  }
  waiter.flush_covers_call = !under_way;
  confirm_wanted_id_ = std::max(confirm_wanted_id_, waiter.confirm_id);
  waiter.next = waiters_;
  waiters_ = &waiter;
  wanted_sequence_ = std::max(wanted_sequence_, waiter.sequence);
  pump(issuer, lock);
  return NotFinal{};
}

Outcome Journal::checkpoint(Issuer::Impl& issuer, CommitWaiter& waiter) {
  Lock lock(metadata_lock_);
  if (error_) return poisoned();
  waiter.next = checkpoint_waiters_;
  checkpoint_waiters_ = &waiter;
  wanted_sequence_ = std::max(wanted_sequence_, newest_sequence());
  checkpoint_wanted_ = true;
  pump(issuer, lock);
  return NotFinal{};
}

void Journal::commit_in_background(Issuer::Impl& issuer) {
  Lock lock(metadata_lock_);
  if (error_) return;
  wanted_sequence_ = std::max(wanted_sequence_, newest_sequence());
  pump(issuer, lock);
}

void Journal::commit_soon(Issuer::Impl& issuer) {
  Lock lock(metadata_lock_);
  if (error_ || plug_.issuer != nullptr) return;
  if (issuer.in_flight() <= 1) {
    wanted_sequence_ = std::max(wanted_sequence_, newest_sequence());
    pump(issuer, lock);
    return;
  }
  plug_.issuer = &issuer;
  issuer.begin_background();
  issuer.post(plug_);
}

std::size_t Journal::payload_bytes(const Sealed& record) const noexcept {
  return sizeof(std::uint32_t) + sizeof(std::uint64_t) + sizeof(std::uint32_t) +
         ledger_.voids().size() * sizeof(std::uint64_t) + record.changes.size();
}

void Journal::go_on(Issuer::Impl& issuer) {
  Lock lock(metadata_lock_);
  pump(issuer, lock);
}

// Blocks that a record takes of the log, with the end of the area that it may have to skip.
std::uint64_t Journal::blocks_needed(std::uint64_t blocks) const noexcept {
  const std::uint64_t index = head_ % layout_.log_blocks;
  return index + blocks > layout_.log_blocks ? layout_.log_blocks - index + blocks : blocks;
}

// Starts what is wanted and possible. Leaves the lock released.
void Journal::pump(Issuer::Impl& issuer, Lock& lock) {
  if (writing_ && write_step_ == WriteStep::await_data &&
      !ledger_.data_pending(current_.sequence)) {
    issuer.begin_background();
    std::exchange(leader_, &issuer)->end_background();
    write_step_ = WriteStep::flush_after;
    submit_write_step(lock);
    return;
  }
  if (writing_ || root_being_written_ || error_) {
    lock.unlock();
    return;
  }
  // First the root that waits, or a stream of commits would keep the log from ever being emptied.
  if (checkpoint_ != nullptr && checkpoint_->step == Checkpoint::Step::wait_for_record) {
    // Whoever is here leads on: queues are for their own threads only.
    issuer.begin_background();
    std::exchange(checkpoint_->leader, &issuer)->end_background();
    checkpoint_write_root(lock);
    return;
  }
  // A checkpoint that was begun goes on to its end, nothing else begins.
  if (held_) {
    lock.unlock();
    return;
  }
  if (wanted_sequence_ > durable_sequence_ || confirm_wanted()) {
    if (sealed_.empty()) seal_open(true);
    const std::uint64_t needed = blocks_needed(meta_blocks(payload_bytes(sealed_.front())));
    if (head_ - tail_ + needed <= layout_.log_blocks) {
      write_next(issuer, lock);
      return;
    }
    // The log is full: the records wait for a checkpoint, which contains them.
    if (checkpoint_ == nullptr) checkpoint_wanted_ = true;
  }
  if (checkpoint_ == nullptr && checkpoint_wanted_) {
    start_checkpoint(issuer, lock);
    return;
  }
  lock.unlock();
}

void Journal::write_next(Issuer::Impl& issuer, Lock& lock) {
  current_ = std::move(sealed_.front());
  sealed_.pop_front();
  if (sealed_.empty() && open_.change_count == 0) oldest_uncommitted_ns_ = 0;
  std::vector<std::byte> head;
  ByteWriter out(head);
  current_confirms_ = ledger_.confirmed();
  const std::vector<std::uint64_t> voids = ledger_.take_voids();
  out.put(current_.change_count);
  out.put(current_confirms_);
  out.put(static_cast<std::uint32_t>(voids.size()));
  for (const std::uint64_t id : voids)
    out.put(id);
  const std::size_t payload_bytes = head.size() + current_.changes.size();
  const std::uint64_t blocks = meta_blocks(payload_bytes);
  if (record_buffer_.size() < blocks * fs_block) record_buffer_ = AlignedBuffer(blocks * fs_block);
  const std::uint64_t skipped = blocks_needed(blocks) - blocks;
  current_position_ = head_ + skipped;
  current_blocks_ = blocks;
  const auto record = record_buffer_.span().first(blocks * fs_block);
  std::fill(record.begin(), record.end(), std::byte{0});
  std::memcpy(record.data() + meta_header_bytes, head.data(), head.size());
  std::copy(current_.changes.begin(), current_.changes.end(),
            record.begin() + static_cast<std::ptrdiff_t>(meta_header_bytes + head.size()));
  meta_seal(record,
            MetaHeader{.type = MetaType::log_record,
                       .volume_id = volume_id_,
                       .address = layout_.log_start + current_position_ % layout_.log_blocks,
                       .sequence = current_.sequence,
                       .payload_bytes = static_cast<std::uint32_t>(payload_bytes)});
  writing_ = true;
  leader_ = &issuer;
  leader_->begin_background();
  const bool flush_before = device_.geometry().volatile_cache && current_.flush_before &&
                            !planted(PlantedBug::journal_no_flush_before);
  write_step_ = flush_before ? WriteStep::flush_before : WriteStep::write;
  submit_write_step(lock);
}

void Journal::submit_write_step(Lock& lock) {
  write_group_ = std::make_unique<BioGroup>(leader_->self(), device_);
  switch (write_step_) {
    case WriteStep::flush_before:
    case WriteStep::await_data:
    case WriteStep::flush_after:
      write_group_->flush();
      break;
    case WriteStep::write: {
      const std::uint64_t block = layout_.log_start + current_position_ % layout_.log_blocks;
      write_group_->write(block * fs_block, record_buffer_.span().first(current_blocks_ * fs_block),
                          device_.geometry().fua);
      break;
    }
  }
  BioGroup* group = write_group_.get();
  lock.unlock();
  group->start(&Journal::write_step_ended, this);
}

void Journal::write_step_ended(BioGroup& group, void* owner) noexcept {
  auto& journal = *static_cast<Journal*>(owner);
  const IoResult result = group.result();
  Lock lock(journal.metadata_lock_);
  lead_from_here(journal.leader_);
  if (!result.ok() || journal.error_) {
    group.keep_if_unanswered(journal.record_buffer_);
    journal.writing_ = false;
    journal.leader_->end_background();
    journal.fail(result, lock);
    return;
  }
  const Geometry& geometry = journal.device_.geometry();
  if (journal.write_step_ == WriteStep::flush_before) {
    journal.write_step_ = WriteStep::write;
    journal.submit_write_step(lock);
  } else if (journal.write_step_ == WriteStep::write && geometry.volatile_cache && !geometry.fua &&
             !planted(PlantedBug::journal_no_flush_after)) {
    // One flush for the record and the data that was submitted with it.
    const bool awaits = journal.ledger_.data_pending(journal.current_.sequence);
    journal.write_step_ = awaits ? WriteStep::await_data : WriteStep::flush_after;
    if (!awaits) journal.submit_write_step(lock);
  } else {
    journal.record_durable(lock);
  }
}

void Journal::record_durable(Lock& lock) {
  writing_ = false;
  Issuer::Impl& leader = *leader_;
  head_ = current_position_ + current_blocks_;
  durable_sequence_ = current_.sequence;
  ledger_.record_durable(current_.sequence);
  if (checkpoint_ != nullptr && checkpoint_->covers_sequence == durable_sequence_) {
    checkpoint_->end_position = head_;
  }
  confirmed_durably(current_confirms_);
  release(std::exchange(current_.freed, {}), current_.freed_confirm_id);
  // Half full: start over in time, so that writers need not wait for it.
  if (head_ - tail_ > layout_.log_blocks / 2 && checkpoint_ == nullptr) checkpoint_wanted_ = true;
  CommitWaiter* finished = take_finished();
  pump(leader, lock);
  leader.end_background();
  call(finished, IoResult::success(0));
}

// Takes every waiter whose record is durable out of the list (all of them, after a failure). Lock
// held.
CommitWaiter* Journal::take_finished() noexcept {
  CommitWaiter* finished = nullptr;
  CommitWaiter** link = &waiters_;
  while (*link != nullptr) {
    CommitWaiter* waiter = *link;
    if (!error_ && !ended(*waiter)) {
      link = &waiter->next;
      continue;
    }
    *link = waiter->next;
    waiter->next = finished;
    finished = waiter;
  }
  while (error_ && checkpoint_waiters_ != nullptr) {
    CommitWaiter* waiter = checkpoint_waiters_;
    checkpoint_waiters_ = waiter->next;
    waiter->next = finished;
    finished = waiter;
  }
  return finished;
}

// The last thing a leader does in a step: a waiter may take the journal down once it was called.
void Journal::call(CommitWaiter* finished, IoResult result) noexcept {
  while (finished != nullptr) {
    CommitWaiter* waiter = finished;
    finished = waiter->next;
    waiter->ended(*waiter, result);
  }
}

void Journal::fail(IoResult error, Lock& lock) {
  if (!error_) error_ = error;
  failed_.store(true, std::memory_order_release);
  const IoResult first = *error_;
  if (checkpoint_ != nullptr && checkpoint_->step == Checkpoint::Step::wait_for_record) {
    // Nothing of it is in flight, and nothing will come that it could go on with.
    checkpoint_give_up();
  }
  CommitWaiter* finished = take_finished();
  lock.unlock();
  call(finished, first);
}

void Journal::poison(IoResult error) {
  Lock lock(metadata_lock_);
  fail(error, lock);
}

}  // namespace handback
