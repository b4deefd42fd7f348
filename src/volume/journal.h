// Makes changes of metadata durable: records in a circular log, and checkpoints that let the log
// start anew.
//
// Group commit without a thread: changes collect in the open record; whoever needs them durable
// seals it and leads the write through its own issuer, while others who come meanwhile wait for
// that or the next record. One record is written at a time, each durable before the next begins,
// and the device is flushed before a record, so that no record can expose data that is not durable.
//
// Nothing here waits: every step submits I/O and returns; continuations run in issuer context of
// the leader.
//
// Locking: everything is guarded by the volume's metadata lock, passed in; it is never held over
// I/O or while a waiter is called.
#pragma once

#include <handback/bio_group.h>
#include <handback/contract.h>
#include <handback/environment.h>
#include <handback/error.h>
#include <handback/issuer.h>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "issuer/issuer_impl.h"
#include "volume/change.h"
#include "volume/data_checksums.h"
#include "volume/extent_map.h"
#include "volume/superblock.h"
#include "volume/write_ledger.h"

namespace handback {

// What is taken of a checkpoint at a time, under the metadata lock. Tests make it small.
inline std::atomic<std::size_t> checkpoint_slice_bytes{4 * meta_payload_bytes_max};

// Somebody who needs the log durable up to a record.
// Owner: the caller, until ended was entered.
struct CommitWaiter {
  std::uint64_t sequence = 0;
  // Also: all writes up to this one are durably confirmed (write_ledger.h).
  std::uint64_t confirm_id = 0;
  // All that the caller needs durable is its changes: its data is durable by itself, or there is
  // none.
  bool data_is_durable = false;
  // Issuer context of the commit's leader, which may be another thread than the waiter's.
  void (*ended)(CommitWaiter& waiter, IoResult result) noexcept = nullptr;
  CommitWaiter* next = nullptr;

  // Set by Journal::commit(): the device will have been flushed after the call and before the
  // waiter is called. False if the record was on its way already: then data written since its flush
  // is not covered, and whoever needs that durable too flushes once more.
  bool flush_covers_call = false;
};

// What the journal needs of the volume. Called with the metadata lock held.
class JournalClient {
 public:
  // The changes that freed these blocks are durable: they may be used again.
  virtual void blocks_reusable(const std::vector<BlockRun>& runs) noexcept = 0;
  // Begins to take all metadata as it is now, in slices; returns the length in bytes.
  virtual std::uint64_t begin_snapshot() = 0;
  // Appends the next slice, about that long. False: nothing comes after it.
  [[nodiscard]] virtual bool snapshot_slice(std::size_t bytes, std::vector<std::byte>& out) = 0;
  // Called when it is complete, or given up.
  virtual void end_snapshot() noexcept = 0;
  // With data checksums. After begin_snapshot(), before its first slice: the next pages to be
  // written home, at most `count_max` of them. False: nothing comes after them.
  [[nodiscard]] virtual bool checksum_pages(std::size_t count_max,
                                            std::vector<DataChecksums::Taken>& to) = 0;
  // The checkpoint counts.
  virtual void checkpoint_durable() noexcept = 0;
  // There is something to commit, and was nothing before.
  virtual void uncommitted() noexcept = 0;

 protected:
  ~JournalClient() = default;
};

class Journal {
 public:
  Journal(BlockDevice& device, const Superblock& superblock, const Root& root,
          std::uint64_t log_head, std::uint64_t next_sequence, std::uint64_t next_write_id,
          JournalClient& client, RankedMutex& metadata_lock, Environment& environment);
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  ~Journal();  // Requires: not busy.

  // --- with the metadata lock held ---

  // Adds a change to the open record; returns the record's number, to wait for. With
  // `shows_data`, data that may still be in the device's cache becomes visible through it.
  std::uint64_t append(const Change& change, bool shows_data = false);
  // Adds a write whose data is about to be submitted; sets change.write_id. Returns false if it has
  // to go the long way: data first.
  [[nodiscard]] bool append_write(Change& change, std::uint64_t data_bytes);
  [[nodiscard]] WriteLedger& ledger() noexcept { return ledger_; }
  [[nodiscard]] const WriteLedger& ledger() const noexcept { return ledger_; }
  // After something was said to the ledger: whether go_on() is to be called, without the lock.
  [[nodiscard]] bool wants_to_go_on() const noexcept;
  // Blocks freed by changes appended so far: reusable once those are durable.
  void freed(std::vector<BlockRun>&& runs);
  // The first error of a flush or a log write, if there was one.
  [[nodiscard]] const std::optional<IoResult>& error() const noexcept { return error_; }
  // The newest record that a change was added to; durable_sequence() if there is none to commit.
  [[nodiscard]] std::uint64_t newest_sequence() const noexcept;
  [[nodiscard]] std::uint64_t blocks_waiting() const noexcept { return blocks_waiting_; }
  [[nodiscard]] std::uint64_t log_used_blocks() const noexcept { return head_ - tail_; }
  // When the oldest change that is not being committed yet was made; 0: there is none.
  [[nodiscard]] std::uint64_t oldest_uncommitted_ns() const noexcept {
    return oldest_uncommitted_ns_;
  }
  // Of the newest checkpoint that counts.
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] bool checkpoint_running() const noexcept { return checkpoint_ != nullptr; }
  // A commit or a checkpoint is under way.
  [[nodiscard]] bool busy() const noexcept {
    return writing_ || checkpoint_ != nullptr || plug_.issuer != nullptr;
  }

  // --- without the lock ---

  // Any thread.
  [[nodiscard]] std::uint64_t durable_sequence() const noexcept {
    return durable_sequence_.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  // The issuer that leads what is under way. Lock held.
  [[nodiscard]] Issuer::Impl* leader() const noexcept;

  // Final if waiter.sequence is durable already or the journal has failed; else NotFinal, and the
  // waiter is called later. Any context but device.
  [[nodiscard]] Outcome commit(Issuer::Impl& issuer, CommitWaiter& waiter);
  // Commits everything that there is and then writes a checkpoint; the waiter is called after that.
  [[nodiscard]] Outcome checkpoint(Issuer::Impl& issuer, CommitWaiter& waiter);
  // Starts a commit of everything, for nobody in particular.
  void commit_in_background(Issuer::Impl& issuer);
  // The same, for a write that has just been added: at once if nothing else is in flight on this
  // issuer, else when it next polls, so that what is submitted until then shares the record.
  void commit_soon(Issuer::Impl& issuer);
  // With true: starts nothing from now on; what is under way goes on to its end. Lock held.
  void hold(bool hold) noexcept { held_ = hold; }
  // Begins what was asked for while it was held.
  void go_on(Issuer::Impl& issuer);
  // From now on every commit fails with `error`.
  void poison(IoResult error);

 private:
  struct Sealed {
    std::uint64_t sequence = 0;
    std::uint32_t change_count = 0;
    std::vector<std::byte> changes;
    std::vector<BlockRun> freed;
    std::uint64_t freed_confirm_id = 0;  // The blocks wait for this one to be confirmed, too.
    bool flush_before = false;
  };
  struct HeldBlocks {
    std::uint64_t confirm_id;
    std::vector<BlockRun> runs;
  };
  struct Plug : IssuerWork {
    Journal* journal = nullptr;
    Issuer::Impl* issuer = nullptr;  // Null: not posted.
  };
  struct Checkpoint;
  enum class WriteStep : std::uint8_t { flush_before, write, await_data, flush_after };

  using Lock = std::unique_lock<RankedMutex>;

  // The calling thread's executor leads on: a step may have been adopted. Lock held.
  static void lead_from_here(Issuer::Impl*& leader) noexcept;

  void seal_open(bool even_if_empty = false);
  [[nodiscard]] std::size_t payload_bytes(const Sealed& record) const noexcept;
  [[nodiscard]] bool confirm_wanted() const noexcept {
    return confirm_wanted_id_ > ledger_.durable_confirmed() &&
           confirm_wanted_id_ <= ledger_.confirmed();
  }
  void release(std::vector<BlockRun>&& runs, std::uint64_t confirm_id);
  void confirmed_durably(std::uint64_t id);
  [[nodiscard]] bool ended(const CommitWaiter& waiter) const noexcept {
    return waiter.sequence <= durable_sequence_ && waiter.confirm_id <= ledger_.durable_confirmed();
  }
  void pump(Issuer::Impl& issuer, Lock& lock);
  void write_next(Issuer::Impl& issuer, Lock& lock);
  void submit_write_step(Lock& lock);
  static void write_step_ended(BioGroup& group, void* owner) noexcept;
  void record_durable(Lock& lock);
  void start_checkpoint(Issuer::Impl& issuer, Lock& lock);
  static void checkpoint_step_ended(BioGroup& group, void* owner) noexcept;
  static void checkpoint_slice(IssuerWork& work) noexcept;
  [[nodiscard]] bool checkpoint_write_pages();
  void checkpoint_seal_blocks(bool last);
  void checkpoint_write_piece();
  void checkpoint_give_up() noexcept;
  void checkpoint_write_root(Lock& lock);
  void checkpoint_root_durable();
  void checkpoint_finished(Lock& lock);
  void fail(IoResult error, Lock& lock);
  [[nodiscard]] CommitWaiter* take_finished() noexcept;
  static void call(CommitWaiter* finished, IoResult result) noexcept;
  [[nodiscard]] std::uint64_t blocks_needed(std::uint64_t blocks) const noexcept;

  BlockDevice& device_;
  VolumeId volume_id_;
  Layout layout_;
  JournalClient& client_;
  RankedMutex& metadata_lock_;
  Environment& environment_;

  // The open record and those sealed but not written.
  Sealed open_;
  std::deque<Sealed> sealed_;
  std::uint64_t oldest_uncommitted_ns_ = 0;
  std::uint64_t blocks_waiting_ = 0;  // Freed, but not reusable yet.

  std::atomic<std::uint64_t> durable_sequence_{0};
  std::atomic<bool> failed_{false};
  std::uint64_t wanted_sequence_ = 0;  // Somebody waits for records up to here.
  std::uint64_t confirm_wanted_id_ = 0;
  WriteLedger ledger_;
  std::vector<HeldBlocks> held_blocks_;  // Freed durably, by writes not confirmed durably.
  Plug plug_;
  std::uint64_t head_ = 0;  // Where the next record goes: blocks ever written to the log.
  std::uint64_t tail_ = 0;  // Where replay would start.
  std::optional<IoResult> error_;
  CommitWaiter* waiters_ = nullptr;

  bool held_ = false;  // By a freeze.

  // The record being written.
  bool writing_ = false;
  Issuer::Impl* leader_ = nullptr;
  WriteStep write_step_ = WriteStep::write;
  Sealed current_;
  std::uint64_t current_confirms_ = 0;
  std::uint64_t current_position_ = 0;
  std::uint64_t current_blocks_ = 0;
  AlignedBuffer record_buffer_;
  std::unique_ptr<BioGroup> write_group_;

  // The checkpoint being written.
  std::unique_ptr<Checkpoint> checkpoint_;
  bool root_being_written_ = false;
  bool checkpoint_wanted_ = false;
  CommitWaiter* checkpoint_waiters_ = nullptr;
  std::uint64_t generation_ = 0;
  std::uint32_t slot_ = 0;
  std::uint32_t root_first_ = 0;  // Of root_blocks: which one a checkpoint writes first.
  std::uint16_t oldest_minor_ = format_version_minor;
};

}  // namespace handback
