#include "volume/volume_impl.h"

#include <algorithm>

#include <fmt/format.h>

#include <limits>

#include "base/assert.h"
#include "volume/snapshot_writer.h"

namespace handback {

// Commits what is older than the interval, from the polling of the issuer that opened the volume.
// It outlives the volume in that issuer's list, hence the pointer that goes out with the volume.
class VolumeImpl::CommitTimer final : public PollHook {
 public:
  explicit CommitTimer(VolumeImpl& volume) : volume_(&volume) {}

  void volume_gone() {
    const std::lock_guard guard(lock_);
    volume_ = nullptr;
    set_idle(false);
  }

  std::int64_t run(Issuer& issuer, std::uint64_t now_ns) noexcept override {
    const std::lock_guard guard(lock_);
    if (volume_ == nullptr) return -1;
    const std::uint64_t interval = volume_->commit_interval_ns_;
    std::uint64_t oldest = 0;
    bool dirty = false;
    set_idle(true);
    {
      const std::lock_guard metadata_guard(volume_->metadata_lock_);
      oldest = volume_->journal_.oldest_uncommitted_ns();
      dirty = volume_->page_cache_ != nullptr && volume_->page_cache_->any_dirty();
      // A file that nobody has open any more may have become clean, and is to go.
      if (oldest != 0 || dirty || volume_->unused_open_ != 0) set_idle(false);
      volume_->let_go_of_unused();
    }
    // A file's age is seen to a quarter of the interval.
    std::int64_t due = std::numeric_limits<std::int64_t>::max();
    if (dirty) {
      if (now_ns >= next_look_ns_) {
        volume_->write_back_old(issuer.impl(), now_ns);
        next_look_ns_ = now_ns + interval / 4 + 1;
      }
      due = static_cast<std::int64_t>(next_look_ns_ - now_ns);
    }
    if (oldest == 0 || volume_->journal_.failed()) return due;
    const std::uint64_t age = now_ns > oldest ? now_ns - oldest : 0;
    if (age < interval) return std::min(due, static_cast<std::int64_t>(interval - age));
    volume_->journal_.commit_in_background(issuer.impl());
    return std::min(due, static_cast<std::int64_t>(interval));
  }

 private:
  RankedMutex lock_{LockRank::commit_timer};
  VolumeImpl* volume_;
  std::uint64_t next_look_ns_ = 0;
};

VolumeImpl::VolumeImpl(BlockDevice& device, DeviceClaim&& claim, LoadedVolume&& loaded,
                       const VolumeOptions& options, Environment& environment)
    : environment_(environment),
      device_(device),
      claim_(std::move(claim)),
      superblock_(std::move(loaded.superblock)),
      recovery_(loaded.recovery),
      read_only_(options.read_only || device.geometry().read_only),
      commit_interval_ns_(std::uint64_t{options.commit_interval_ms} * 1'000'000),
      metadata_(std::move(loaded.metadata)),
      allocator_(std::move(loaded.allocator)),
      checksums_(std::move(loaded.checksums)),
      journal_(device, superblock_, loaded.root, loaded.log_head, loaded.next_sequence,
               loaded.next_write_id, *this, metadata_lock_, environment),
      hook_(std::make_shared<CommitTimer>(*this)),
      cache_options_{.memory_bytes_max = options.page_cache_bytes_max} {
  recovery_undecided_ = loaded.unconfirmed_from != loaded.next_write_id;
  if (recovery_undecided_)
    journal_.ledger().resolved_by_recovery(loaded.unconfirmed_from, std::move(loaded.voids));
}

VolumeImpl::~VolumeImpl() {
  HB_ASSERT(handles_ == 0, "a volume goes after all of its files");
  static_cast<CommitTimer&>(*hook_).volume_gone();
  discard_caches();
  Issuer::Impl* leader = nullptr;
  {
    const std::lock_guard guard(metadata_lock_);
    leader = journal_.leader();
  }
  if (leader == nullptr) return;
  // Another thread may lead it by now: any issuer of this one can wait, and help.
  Issuer::Impl* here = leader->on_owner_thread() ? leader : Issuer::Impl::of_this_thread();
  HB_ASSERT(here != nullptr,
            "a volume with a commit under way goes on a thread that has an issuer");
  here->wait_until_helped([this] {
    const std::lock_guard guard(metadata_lock_);
    return !journal_.busy();
  });
}

void VolumeImpl::blocks_reusable(const std::vector<BlockRun>& runs) noexcept {
  for (const BlockRun& run : runs)
    allocator_->release(run);
}

std::uint64_t VolumeImpl::begin_snapshot() {
  if (checksums_ != nullptr) checksums_->begin_checkpoint();
  snapshot_ = std::make_unique<SnapshotWriter>(*metadata_);
  return snapshot_->bytes();
}

bool VolumeImpl::snapshot_slice(std::size_t bytes, std::vector<std::byte>& out) {
  if (snapshot_->next(bytes, out)) return true;
  if (checksums_ != nullptr)
    snapshot_put_stale(out, checksums_->list_stale(journal_.durable_sequence()));
  return false;
}

void VolumeImpl::end_snapshot() noexcept {
  snapshot_.reset();
}

bool VolumeImpl::checksum_pages(std::size_t count_max, std::vector<DataChecksums::Taken>& to) {
  return checksums_->take_pages(count_max, journal_.durable_sequence(), to);
}

void VolumeImpl::checkpoint_durable() noexcept {
  if (checksums_ != nullptr) checksums_->list_durable();
}

void VolumeImpl::uncommitted() noexcept {
  hook_->set_idle(false);
}

VolumeInfo VolumeImpl::info() const {
  const std::lock_guard guard(metadata_lock_);
  VolumeInfo info =
      volume_info(superblock_, *metadata_, allocator_->free_blocks() + journal_.blocks_waiting(),
                  journal_.log_used_blocks());
  info.checkpoint_generation = journal_.generation();
  info.checkpoint_running = journal_.checkpoint_running();
  info.page_cache.memory_bytes_max = cache_options_.memory_bytes_max;
  if (page_cache_ != nullptr) info.page_cache = page_cache_->info();
  return info;
}

std::uint64_t VolumeImpl::blocks_waiting() const {
  const std::lock_guard guard(metadata_lock_);
  return journal_.blocks_waiting();
}

Result<void> VolumeImpl::check_writable_locked() const {
  if (read_only_) return fail(Errc::read_only, "the volume is open read-only; open it for writing");
  if (journal_.error()) {
    return fail(Errc::poisoned, fmt::format("an earlier flush or log write failed, or the device "
                                            "did not answer ({}); close the volume, check the "
                                            "device, and open it again",
                                            describe(*journal_.error())));
  }
  return {};
}

Result<void> VolumeImpl::check_writable() const {
  const std::lock_guard guard(metadata_lock_);
  return check_writable_locked();
}

IoResult VolumeImpl::check_writable_io() const noexcept {
  if (read_only_) return IoResult::failure(Errc::read_only);
  if (journal_.failed()) return IoResult::failure(Errc::poisoned);
  return {};
}

void VolumeImpl::write_failed(IoResult result) noexcept {
  // `poisoned` is the device's word for writes after one that timed out.
  if (result.code() == Errc::timed_out || result.code() == Errc::poisoned) journal_.poison(result);
}

// Converting parts of unwritten extents must not fail, and may leave one extent per block of them;
// that is kept back, and a sixteenth of the area for what is in flight, of which
// half may be used up by holes: each can leave one extent more than there was.
bool VolumeImpl::room_for(std::uint64_t metadata_bytes, bool for_freeing) const noexcept {
  const std::uint64_t capacity = snapshot_bytes_max(superblock_.layout);
  const std::uint64_t kept_back =
      capacity / (for_freeing ? 32 : 16) + metadata_->unwritten_blocks() * snapshot_extent_bytes;
  return metadata_->snapshot_bytes() + metadata_bytes + kept_back <= capacity;
}

Result<void> VolumeImpl::need_room(std::uint64_t metadata_bytes, bool for_freeing) const {
  if (room_for(metadata_bytes, for_freeing)) return {};
  return fail(Errc::no_space,
              "the volume's metadata area is full; remove files, or format a larger volume");
}

void VolumeImpl::make(const Change& change, std::initializer_list<Inode*> touched) {
  std::vector<BlockRun> freed;
  const char* problem = metadata_->apply(change, &freed);
  HB_ASSERT(problem == nullptr, "a change is checked before it is made");
  const std::uint64_t sequence = journal_.append(change);
  if (!freed.empty()) journal_.freed(std::move(freed));
  for (Inode* inode : touched)
    inode->dirty_sequence.store(sequence, std::memory_order_relaxed);
}

}  // namespace handback
