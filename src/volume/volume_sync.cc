// Durability on request, in task context: commits, flushes, close.
#include <fmt/format.h>

#include "base/assert.h"
#include "base/planted_bug.h"
#include "volume/volume_impl.h"

namespace handback {

// A caller that blocks until the journal calls. The result comes as work on the caller's own
// issuer: the thread that leads the commit must touch nothing of the caller's after that.
struct VolumeImpl::BlockingWaiter : CommitWaiter {
  struct Arrival : IssuerWork {
    bool here = false;
  } arrival;
  Issuer::Impl* issuer = nullptr;
  IoResult result;

  explicit BlockingWaiter(Issuer::Impl& own) : issuer(&own) {
    arrival.run = [](IssuerWork& work) noexcept { static_cast<Arrival&>(work).here = true; };
    ended = [](CommitWaiter& waiter, IoResult outcome) noexcept {
      auto& self = static_cast<BlockingWaiter&>(waiter);
      self.result = outcome;
      self.issuer->notify(self.arrival);
    };
  }

  IoResult wait(Outcome started) {
    if (started.is_final()) return started.result();
    issuer->wait_until_helped([this] { return arrival.here; });
    return result;
  }
};

Result<void> VolumeImpl::commit_and_wait(Issuer& issuer, BlockingWaiter& waiter) {
  if (auto thawed = check_not_frozen_here(); !thawed) return thawed;
  const IoResult result = waiter.wait(journal_.commit(issuer.impl(), waiter));
  if (result.ok()) return {};
  if (result.code() == Errc::poisoned) return check_writable();
  return fail(result.code(),
              fmt::format("{}: writing the log failed: {}; close the volume and check the device",
                          device_.name(), describe(result)));
}

Result<void> VolumeImpl::commit_up_to(Issuer& issuer, std::uint64_t sequence,
                                      std::uint64_t confirm_id) {
  BlockingWaiter waiter(issuer.impl());
  waiter.sequence = sequence;
  waiter.confirm_id = confirm_id;
  if (auto committed = commit_and_wait(issuer, waiter); !committed) return committed;
  return waiter.flush_covers_call ? Result<void>() : flush_device(issuer);
}

Result<void> VolumeImpl::commit_changes_up_to(Issuer& issuer, std::uint64_t sequence) {
  BlockingWaiter waiter(issuer.impl());
  waiter.sequence = sequence;
  waiter.data_is_durable = true;
  return commit_and_wait(issuer, waiter);
}

Result<void> VolumeImpl::finish_recovery(Issuer& issuer) {
  if (!recovery_undecided_ || read_only_) return {};
  // What was read to decide may have come from the device's cache.
  if (auto flushed = flush_device(issuer); !flushed) return flushed;
  const std::uint64_t newest = journal_.ledger().newest();
  return commit_up_to(issuer, journal_.durable_sequence(), newest);
}

Result<void> VolumeImpl::flush_device(Issuer& issuer) {
  if (!device_.geometry().volatile_cache || planted(PlantedBug::sync_without_flush)) return {};
  BioGroup group(issuer, device_);
  group.flush();
  const IoResult result = group.run_and_wait();
  if (result.ok()) return {};
  journal_.poison(result);
  return fail(result.code(),
              fmt::format("{}: flushing failed: {}; close the volume and check the device",
                          device_.name(), describe(result)));
}

Result<void> VolumeImpl::sync(Issuer& issuer) {
  if (read_only_) return {};
  if (auto writable = check_writable(); !writable) return writable;
  if (page_cache_ != nullptr && page_cache_->any_dirty()) {
    if (auto thawed = check_not_frozen_here(); !thawed) return thawed;
  }
  if (auto flushed = flush_caches(issuer); !flushed) return flushed;
  std::uint64_t sequence = 0;
  {
    const std::lock_guard guard(metadata_lock_);
    sequence = journal_.newest_sequence();
  }
  if (sequence > journal_.durable_sequence()) return commit_up_to(issuer, sequence);
  return flush_device(issuer);
}

Result<void> VolumeImpl::checkpoint_and_wait(Issuer& issuer) {
  BlockingWaiter waiter(issuer.impl());
  const IoResult written = waiter.wait(journal_.checkpoint(issuer.impl(), waiter));
  if (written.ok()) return {};
  return fail(written.code(),
              fmt::format("{}: writing the checkpoint failed: {}; check the device and open "
                          "the volume again",
                          device_.name(), describe(written)));
}

Result<void> VolumeImpl::close(Issuer& issuer) {
  HB_ASSERT(handles_ == 0, "a volume is closed after all of its files");
  if (read_only_) {
    discard_caches();
    claim_.reset();
    return {};
  }
  if (frozen()) static_cast<void>(thaw(issuer));
  Result<void> result = check_writable();
  // The first error counts; what could not be written is lost now.
  if (auto flushed = flush_caches(issuer); !flushed && result) result = flushed;
  discard_caches();
  bool needs_checkpoint = false;
  {
    const std::lock_guard guard(metadata_lock_);
    needs_checkpoint = journal_.busy() || journal_.log_used_blocks() != 0 ||
                       journal_.newest_sequence() > journal_.durable_sequence() ||
                       (checksums_ != nullptr && checksums_->unsettled());
  }
  if (result && needs_checkpoint) {
    result = checkpoint_and_wait(issuer);
    // Pages that were not durably stale could not be written home; now they are listed.
    if (result && checksums_ != nullptr && checksums_->unsettled())
      result = checkpoint_and_wait(issuer);
  } else if (result) {
    result = flush_device(issuer);
  }
  claim_.reset();
  return result;
}

}  // namespace handback
