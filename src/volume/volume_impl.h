// The open volume: metadata, free space and journal under one lock, and what files and names do
// with them.
//
// Thread class: any thread. Lock order: metadata_lock, then an inode's map_lock, then leaf locks.
// metadata_lock is held for memory work only, never over I/O, and never taken in device context.
#pragma once

#include <absl/container/flat_hash_set.h>
#include <handback/contract.h>
#include <handback/environment.h>
#include <handback/iomap.h>
#include <handback/volume.h>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "issuer/poll_hook.h"
#include "pagecache/page_cache.h"
#include "volume/allocator.h"
#include "volume/data_checksums.h"
#include "volume/device_claim.h"
#include "volume/freeze.h"
#include "volume/journal.h"
#include "volume/load.h"
#include "volume/metadata.h"
#include "volume/open_inode.h"

namespace handback {

class CachedInode;

class VolumeImpl final : private JournalClient {
 public:
  VolumeImpl(BlockDevice& device, DeviceClaim&& claim, LoadedVolume&& loaded,
             const VolumeOptions& options, Environment& environment);
  VolumeImpl(const VolumeImpl&) = delete;
  VolumeImpl& operator=(const VolumeImpl&) = delete;
  ~VolumeImpl();

  // --- names (namespace.cc) ---
  Result<Inode*> open_inode(std::string_view path, const OpenFlags& flags);
  Result<void> mkdir(std::string_view path);
  Result<void> link(std::string_view existing, std::string_view path);
  Result<void> unlink(std::string_view path);
  Result<void> rmdir(std::string_view path);
  Result<void> rename(std::string_view from, std::string_view to);
  Result<FileInfo> stat(std::string_view path) const;
  Result<std::vector<DirEntry>> list(std::string_view path) const;
  // Gives up one handle.
  void release_inode(Inode& inode) noexcept;

  // --- files (volume_file.cc, file_space.cc, preallocate.cc, punch.cc) ---
  static FileInfo file_info(const Inode& inode);
  // Takes blocks for the hole at the start of [offset, offset + count) (fs blocks), unwritten, in
  // memory only. The mapping found or made is *mapping.
  IoResult allocate_for_write(Inode& inode, std::uint64_t offset, std::uint64_t count,
                              ExtentMap::Lookup* mapping, bool* made);
  // A write of these bytes has ended well: converts what was unwritten, publishes the size.
  // `write_id`: of a write that the log knows already, or 0.
  IoResult write_settled(Inode& inode, std::uint64_t offset, std::uint64_t end_offset, bool convert,
                         std::uint64_t write_id);
  // Writes the write down as it is about to be submitted. Returns its id, or 0: it goes the long
  // way, data first.
  std::uint64_t log_write(Inode& inode, const DioStart& start);
  // What became of the data of a write that the log knows.
  void write_data_ended(Issuer& issuer, std::uint64_t write_id, bool ok) noexcept;
  void write_abandoned(std::uint64_t write_id) noexcept;

  // --- the page cache (buffered.cc) ---
  // The open file's place in it. Null: the volume has none.
  CachedInode* cache_inode(Inode& inode);
  // Writes back what is dirty of all files, and waits.
  Result<void> flush_caches(Issuer& issuer);

  // --- unconfirmed writes (confirm.cc) ---
  // The newest write in this range that has to be confirmed before its blocks may be touched; 0:
  // there is none.
  std::uint64_t unconfirmed_in(Inode& inode, std::uint64_t offset,
                               std::uint64_t end) const noexcept;
  void note_unconfirmed(Inode& inode, const UnconfirmedWrite& write);
  // For whoever is about to change blocks of the file in place.
  Result<void> wait_until_confirmed(Issuer& issuer, Inode& inode);

  // --- checksums of data (data_guard.cc); only on a volume that has them ---
  [[nodiscard]] bool has_checksums() const noexcept { return checksums_ != nullptr; }
  // Data of the file's blocks [block, end) is about to be submitted, and nobody else may read or
  // write them until end_data(). would_block: not before the log is durable up to the inode's
  // `mark_sequence`.
  // *begun, if given: the blocks on the device, of one file block (none, if it is a hole).
  IoResult begin_data(Inode& inode, std::uint64_t block, std::uint64_t end,
                      BlockRun* begun = nullptr) noexcept;
  // After begin_data(): what these bios write will be known, where it is whole blocks.
  void take_checksums(const Bio* bios) noexcept;
  void end_data(Inode& inode, std::uint64_t block, std::uint64_t end, bool ok) noexcept;
  // Of one block, in which a part is about to be zeroed.
  Result<void> begin_block_and_wait(Issuer& issuer, Inode& inode, std::uint64_t block,
                                    BlockRun* begun);
  void end_block(const BlockRun& begun, bool ok) noexcept;
  // The same where zeros are about to be written to what is unwritten of these blocks.
  Result<void> begin_zeroing(Issuer& issuer, Inode& inode, std::uint64_t block, std::uint64_t end);
  void end_zeroing(Inode& inode, std::uint64_t block, std::uint64_t end, bool ok) noexcept;
  // Whether what was read, `bytes` from `offset` on, is what was written.
  [[nodiscard]] bool data_fits(const Inode& inode, std::uint64_t offset, IovView iov,
                               std::uint64_t bytes) const noexcept;
  // Zeroes the tail of the file's block at `held_offset`, which the caller holds. *result, if
  // given: how the writing ended.
  Result<void> clean_tail_and_wait(Issuer& issuer, Inode& inode, std::uint64_t held_offset,
                                   IoResult* result = nullptr);

  // --- holes (punch.cc); the range is drained ---
  // Blocks of the file.
  Result<void> unmap(Inode& inode, std::uint64_t offset, std::uint64_t count);
  // What was written there becomes unwritten, in its place.
  Result<void> make_unwritten(Inode& inode, std::uint64_t offset, std::uint64_t count);
  Result<void> preallocate(Inode& inode, std::uint64_t offset, std::uint64_t length);
  // Whether as many blocks as the range has holes are free.
  Result<void> need_space(Inode& inode, std::uint64_t offset, std::uint64_t length);
  // Zeros are on the device in all unwritten blocks of [block, end): they become written ones.
  Result<void> initialised(Inode& inode, std::uint64_t block, std::uint64_t end);
  Result<void> set_size(Inode& inode, std::uint64_t size_bytes);
  Result<void> set_mtime(Inode& inode, std::int64_t mtime_ns);

  // --- durability (volume_sync.cc) ---
  // Also flushes all data written before the call. Final at once, without a flush, if the log is
  // durable.
  Result<void> commit_up_to(Issuer& issuer, std::uint64_t sequence, std::uint64_t confirm_id = 0);
  // The same of changes alone: says nothing of data.
  Result<void> commit_changes_up_to(Issuer& issuer, std::uint64_t sequence);
  // Makes durable what recovery has decided on. Nothing is written before that.
  Result<void> finish_recovery(Issuer& issuer);
  Result<void> flush_device(Issuer& issuer);
  Result<void> sync(Issuer& issuer);
  Result<void> sync_directory(Issuer& issuer, std::string_view path);  // namespace.cc
  Result<void> close(Issuer& issuer);
  // --- freezing (freeze.cc) ---
  Result<void> freeze(Issuer& issuer);
  Result<void> thaw(Issuer& issuer);
  [[nodiscard]] bool frozen() const;
  // For calls that would wait for the thaw: an error on the thread that froze the volume, which
  // alone could bring it about. (Others wait.)
  Result<void> check_not_frozen_here() const;

  // The writable volume's state as an error, if it has one: read only, or poisoned.
  Result<void> check_writable() const;
  IoResult check_writable_io() const noexcept;
  // A write of file data has failed. If nobody knows what became of it, it may still land, and no
  // block may change hands any more: the volume is poisoned. Any context but device.
  void write_failed(IoResult result) noexcept;

  [[nodiscard]] VolumeInfo info() const;
  [[nodiscard]] BlockDevice& device() const noexcept { return device_; }
  [[nodiscard]] const RecoveryReport& recovery() const noexcept { return recovery_; }
  [[nodiscard]] Journal& journal() noexcept { return journal_; }
  [[nodiscard]] RankedMutex& metadata_lock() const noexcept { return metadata_lock_; }
  // Blocks that a commit would make free.
  [[nodiscard]] std::uint64_t blocks_waiting() const;
  [[nodiscard]] const std::shared_ptr<PollHook>& hook() const noexcept { return hook_; }
  [[nodiscard]] bool read_only() const noexcept { return read_only_; }

 private:
  // Starts the write-back of files that have been dirty for a commit interval.
  void write_back_old(Issuer::Impl& issuer, std::uint64_t now_ns);
  // Waits for the cache's I/O and forgets all of it, dirty pages too.
  void discard_caches() noexcept;

  struct BlockingWaiter;
  Result<void> commit_and_wait(Issuer& issuer, BlockingWaiter& waiter);
  Result<void> checkpoint_and_wait(Issuer& issuer);
  class CommitTimer;

  // Nanoseconds since 1970, now.
  [[nodiscard]] std::int64_t realtime_ns() const noexcept { return environment_.realtime_ns(); }

  void blocks_reusable(const std::vector<BlockRun>& runs) noexcept override;
  std::uint64_t begin_snapshot() override;
  bool snapshot_slice(std::size_t bytes, std::vector<std::byte>& out) override;
  void end_snapshot() noexcept override;
  bool checksum_pages(std::size_t count_max, std::vector<DataChecksums::Taken>& to) override;
  void checkpoint_durable() noexcept override;
  void uncommitted() noexcept override;

  // --- with metadata_lock held ---
  // The inode's last user has gone.
  void let_go(Inode& inode) noexcept;
  // Of open inodes without a handle, those that the cache has done with.
  void let_go_of_unused();
  struct Place {
    Inode* directory = nullptr;
    std::string_view name;   // Empty: the root itself.
    Inode* inode = nullptr;  // Null: no such name.
  };
  Result<Place> find_place(std::string_view path) const;
  Result<Place> find_existing(std::string_view path) const;
  static void name_lost(Inode& inode, const Inode& directory);
  // What is unwritten in [block, end) becomes written, in the log if `logged`. The record's number,
  // or 0.
  std::uint64_t convert(Inode& inode, std::uint64_t block, std::uint64_t end, bool logged);
  // Marks the pages of these blocks stale, in the log. The newest record to wait for, or 0.
  std::uint64_t mark_stale(const BlockRun& run);
  // The record says that these blocks are written.
  void note_written(const BlockRun& run, std::uint64_t sequence);
  // Applies a change that was checked to be possible, and logs it.
  void make(const Change& change, std::initializer_list<Inode*> touched);
  // `for_freeing`: of what is kept back, half is for changes that free something.
  [[nodiscard]] bool room_for(std::uint64_t metadata_bytes,
                              bool for_freeing = false) const noexcept;
  Result<void> need_room(std::uint64_t metadata_bytes, bool for_freeing = false) const;
  Result<void> check_writable_locked() const;

  Environment& environment_;
  BlockDevice& device_;
  std::optional<DeviceClaim> claim_;  // Until close().
  Superblock superblock_;
  RecoveryReport recovery_;
  bool recovery_undecided_ = false;
  bool read_only_;
  std::uint64_t commit_interval_ns_;
  mutable RankedMutex metadata_lock_{LockRank::metadata};
  std::unique_ptr<Metadata> metadata_;
  std::unique_ptr<class SnapshotWriter> snapshot_;  // While a checkpoint is being taken.
  std::unique_ptr<Allocator> allocator_;
  std::unique_ptr<DataChecksums> checksums_;  // Null: the volume has none.
  Journal journal_;
  std::shared_ptr<PollHook> hook_;
  absl::flat_hash_set<Inode*> open_inodes_;  // With a handle, or something in the page cache.
  std::uint64_t unused_open_ = 0;            // Those without a handle.
  std::uint64_t handles_ = 0;
  PageCacheOptions cache_options_;
  std::unique_ptr<PageCache> page_cache_;  // From the first buffered request on.
  std::unique_ptr<Freeze> freeze_;         // While the volume is frozen, or about to be.
};

}  // namespace handback
