#include "volume/journal.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"
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

struct Journal::Checkpoint {
  Issuer::Impl* leader = nullptr;
  std::uint64_t covers_sequence = 0;  // All records up to this one are contained.
  std::optional<std::uint64_t>
      end_position;  // Of that record in the log, once it was written there.
  Root root;
  AlignedBuffer blocks;
  AlignedBuffer root_block{fs_block};
  enum class Step : std::uint8_t {
    write,
    flush,
    wait_for_record,
    first_root,
    second_root
  } step = Step::write;
  bool started_root_step = false;
  std::unique_ptr<BioGroup> group;
};

Journal::Journal(BlockDevice& device, const Superblock& superblock, const Root& root,
                 std::uint64_t log_head, std::uint64_t next_sequence, JournalClient& client,
                 RankedMutex& metadata_lock)
    : device_(device),
      volume_id_(superblock.volume_id),
      layout_(superblock.layout),
      client_(client),
      metadata_lock_(metadata_lock),
      durable_sequence_(next_sequence - 1),
      head_(log_head),
      tail_(root.log_position),
      generation_(root.generation),
      slot_(root.slot),
      oldest_minor_(std::min(root.oldest_minor, format_version_minor)) {
  open_.sequence = next_sequence;
}

Journal::~Journal() {
  HB_ASSERT(!busy(), "a journal goes when nothing of it is in flight");
}

// --- collecting ---

std::uint64_t Journal::append(const Change& change) {
  if (open_.changes.size() >= record_changes_bytes_max) seal_open();
  if (oldest_uncommitted_ns_ == 0) oldest_uncommitted_ns_ = monotonic_ns();
  change_encode(change, open_.changes);
  ++open_.change_count;
  return open_.sequence;
}

void Journal::freed(std::vector<BlockRun>&& runs) {
  // With the newest record that exists; if every change is durable, they wait for nothing.
  std::vector<BlockRun>* with = nullptr;
  if (open_.change_count != 0) {
    with = &open_.freed;
  } else if (!sealed_.empty()) {
    with = &sealed_.back().freed;
  } else if (writing_) {
    with = &current_.freed;
  } else {
    client_.blocks_reusable(runs);
    return;
  }
  for (const BlockRun& run : runs)
    blocks_waiting_ += run.count;
  with->insert(with->end(), runs.begin(), runs.end());
}

Issuer::Impl* Journal::leader() const noexcept {
  if (writing_) return leader_;
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

void Journal::seal_open() {
  if (open_.change_count == 0) return;
  const std::uint64_t next = open_.sequence + 1;
  sealed_.push_back(std::move(open_));
  open_ = Sealed{};
  open_.sequence = next;
}

// --- committing ---

Outcome Journal::commit(Issuer::Impl& issuer, CommitWaiter& waiter) {
  Lock lock(metadata_lock_);
  if (error_) return poisoned();
  if (waiter.sequence <= durable_sequence_) return IoResult::success(0);
  const bool under_way =
      (writing_ && waiter.sequence <= current_.sequence) ||
      (checkpoint_ != nullptr && waiter.sequence <= checkpoint_->covers_sequence);
  waiter.flush_covers_call = !under_way;
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
  if (wanted_sequence_ > durable_sequence_) {
    if (sealed_.empty()) seal_open();
    const std::uint64_t needed =
        blocks_needed(meta_blocks(sizeof(std::uint32_t) + sealed_.front().changes.size()));
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
  const std::size_t payload_bytes = sizeof(std::uint32_t) + current_.changes.size();
  const std::uint64_t blocks = meta_blocks(payload_bytes);
  if (record_buffer_.size() < blocks * fs_block) record_buffer_ = AlignedBuffer(blocks * fs_block);
  const std::uint64_t skipped = blocks_needed(blocks) - blocks;
  current_position_ = head_ + skipped;
  current_blocks_ = blocks;
  const auto record = record_buffer_.span().first(blocks * fs_block);
  std::fill(record.begin(), record.end(), std::byte{0});
  std::memcpy(record.data() + meta_header_bytes, &current_.change_count,
              sizeof current_.change_count);
  std::memcpy(record.data() + meta_header_bytes + sizeof current_.change_count,
              current_.changes.data(), current_.changes.size());
  meta_seal(record,
            MetaHeader{.type = MetaType::log_record,
                       .volume_id = volume_id_,
                       .address = layout_.log_start + current_position_ % layout_.log_blocks,
                       .sequence = current_.sequence,
                       .payload_bytes = static_cast<std::uint32_t>(payload_bytes)});
  writing_ = true;
  leader_ = &issuer;
  leader_->begin_background();
  write_step_ = device_.geometry().volatile_cache ? WriteStep::flush_before : WriteStep::write;
  submit_write_step(lock);
}

void Journal::submit_write_step(Lock& lock) {
  write_group_ = std::make_unique<BioGroup>(leader_->self(), device_);
  switch (write_step_) {
    case WriteStep::flush_before:
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
  } else if (journal.write_step_ == WriteStep::write && geometry.volatile_cache && !geometry.fua) {
    journal.write_step_ = WriteStep::flush_after;
    journal.submit_write_step(lock);
  } else {
    journal.record_durable(lock);
  }
}

void Journal::record_durable(Lock& lock) {
  writing_ = false;
  Issuer::Impl& leader = *leader_;
  head_ = current_position_ + current_blocks_;
  durable_sequence_ = current_.sequence;
  if (checkpoint_ != nullptr && checkpoint_->covers_sequence == durable_sequence_) {
    checkpoint_->end_position = head_;
  }
  for (const BlockRun& run : current_.freed)
    blocks_waiting_ -= run.count;
  client_.blocks_reusable(current_.freed);
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
    if (!error_ && waiter->sequence > durable_sequence_) {
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
    checkpoint_->leader->end_background();
    checkpoint_.reset();
  }
  CommitWaiter* finished = take_finished();
  lock.unlock();
  call(finished, first);
}

void Journal::poison(IoResult error) {
  Lock lock(metadata_lock_);
  fail(error, lock);
}

// --- checkpoints ---

void Journal::start_checkpoint(Issuer::Impl& issuer, Lock& lock) {
  checkpoint_wanted_ = false;
  seal_open();
  checkpoint_ = std::make_unique<Checkpoint>();
  Checkpoint& point = *checkpoint_;
  point.leader = &issuer;
  point.covers_sequence = open_.sequence - 1;
  if (point.covers_sequence == durable_sequence_) point.end_position = head_;
  const std::vector<std::byte> payload = client_.snapshot();
  const std::uint64_t blocks =
      (payload.size() + meta_payload_bytes_max - 1) / meta_payload_bytes_max;
  if (blocks > layout_.slot_blocks) {
    // The account of the area is kept so that this cannot be; if it is, saying so is all that is
    // left.
    checkpoint_.reset();
    fail(IoResult::failure(Errc::no_space, IoDetail::metadata_area_full), lock);
    return;
  }
  point.root = Root{.generation = generation_ + 1,
                    .slot = 1 - slot_,
                    .checkpoint_bytes = payload.size(),
                    .log_position = 0,
                    .log_sequence = point.covers_sequence + 1,
                    .oldest_minor = oldest_minor_};
  point.blocks = AlignedBuffer(blocks * fs_block);
  const std::uint64_t start = layout_.slot_start[point.root.slot];
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const auto block = point.blocks.span().subspan(i * fs_block, fs_block);
    const std::size_t from = i * meta_payload_bytes_max;
    const std::size_t length = std::min(meta_payload_bytes_max, payload.size() - from);
    std::memcpy(block.data() + meta_header_bytes, payload.data() + from, length);
    meta_seal(block, MetaHeader{.type = MetaType::checkpoint,
                                .volume_id = volume_id_,
                                .address = start + i,
                                .generation = point.root.generation,
                                .sequence = i,
                                .payload_bytes = static_cast<std::uint32_t>(length)});
  }
  point.leader->begin_background();
  point.group = std::make_unique<BioGroup>(issuer.self(), device_);
  point.group->write(start * fs_block, point.blocks.span());
  lock.unlock();
  point.group->start(&Journal::checkpoint_step_ended, this);
  // Records that the checkpoint covers may still be wanted, and can go on meanwhile.
  lock.lock();
  pump(issuer, lock);
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
    group.keep_if_unanswered(point.blocks);
    group.keep_if_unanswered(point.root_block);
    journal.checkpoint_.reset();
    journal.root_being_written_ = false;
    leader.end_background();
    journal.fail(result, lock);
    return;
  }
  const bool volatile_cache = journal.device_.geometry().volatile_cache;
  if (point.step == Checkpoint::Step::write && volatile_cache) {
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
  const std::uint64_t block = root_blocks[point.step == Checkpoint::Step::first_root ? 0 : 1];
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
  while (!sealed_.empty() && sealed_.front().sequence <= point.covers_sequence) {
    for (const BlockRun& run : sealed_.front().freed)
      blocks_waiting_ -= run.count;
    client_.blocks_reusable(sealed_.front().freed);
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
