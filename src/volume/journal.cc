#include "volume/journal.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/planted_bug.h"
#include "volume/meta_block.h"

namespace handback {
namespace {

// A record is sealed at about this size even if nobody asks: it bounds what one write must carry
// and keeps any record far below the log's size (256 KiB at least).
constexpr std::size_t record_changes_bytes_max = 32 << 10;

IoResult poisoned() noexcept {
  return IoResult::failure(Errc::poisoned);
}

// Of a checkpoint, to the device at a time.
constexpr std::uint64_t piece_blocks = 16;

}  // namespace

struct Journal::Checkpoint {
  Issuer::Impl* leader = nullptr;
  std::uint64_t covers_sequence = 0;  // All records up to this one are contained.
  std::uint64_t confirms = 0;         // All writes up to this one are contained, or void.
  std::optional<std::uint64_t>
      end_position;  // Of that record in the log, once it was written there.
  Root root;
  AlignedBuffer root_block{fs_block};

  // Taking and writing it, a piece at a time.
  struct Slice : IssuerWork {
    Journal* journal = nullptr;
  } slice;
  std::vector<std::byte> payload;  // Taken, but not in a block yet.
  bool taken = false;              // There is no more of it.
  AlignedBuffer piece{piece_blocks * fs_block};
  std::uint64_t piece_used = 0;      // Blocks.
  std::uint64_t blocks_written = 0;  // Before the piece.

  std::vector<DataChecksums::Taken> pages;  // On their way home.
  bool pages_left = true;

  enum class Step : std::uint8_t {
    pages,  // Of data checksums.
    write,  // And taking what is written.
    flush,
    wait_for_record,
    first_root,
    second_root
  } step = Step::write;
  bool started_root_step = false;
  std::unique_ptr<BioGroup> group;
};

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
  if (oldest_uncommitted_ns_ == 0) oldest_uncommitted_ns_ = environment_.monotonic_ns();
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

// --- checkpoints ---

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
      point.pages_left = journal.client_.checksum_pages(piece_blocks, point.pages);
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
  while (point.piece_used < piece_blocks) {
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
  const bool full = point.piece_used == piece_blocks || (point.taken && point.payload.empty());
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
