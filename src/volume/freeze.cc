#include "volume/freeze.h"

#include <limits>
#include <mutex>

#include "base/assert.h"
#include "volume/open_inode.h"
#include "volume/volume_impl.h"

namespace handback {

Freeze::Freeze(Issuer::Impl& issuer) noexcept : issuer_(issuer), owner_(thread_serial()) {
  all_held_.run = [](IssuerWork& work) noexcept { static_cast<AllHeld&>(work).here = true; };
}

void Freeze::add(Inode& inode) {
  Hold& hold = *holds_.emplace_back(std::make_unique<Hold>());
  hold.inode = &inode;
  hold.freeze = this;
  hold.range.end = std::numeric_limits<std::uint64_t>::max();
  hold.range.mode = RangeMode::write_exclusive;
  hold.range.lets_reads_pass = true;
  hold.range.owner = &hold;
  hold.range.granted = [](RangeEntry& entry) noexcept {
    static_cast<Hold*>(entry.owner)->freeze->granted();
  };
}

void Freeze::hold_all() noexcept {
  awaited_.fetch_add(holds_.size(), std::memory_order_relaxed);
  for (auto& hold : holds_) {
    if (dio_inflight_impl(hold->inode->open->inflight).enter(hold->range, false) ==
        DioInflight::Impl::Entered::granted) {
      granted();
    }
  }
}

void Freeze::hold_new(Inode& inode) {
  add(inode);
  const auto entered = dio_inflight_impl(inode.open->inflight).enter(holds_.back()->range, false);
  HB_ASSERT(entered == DioInflight::Impl::Entered::granted, "a file just opened has no requests");
}

// Any thread and context. Who brings the count to zero touches nothing of the freeze after that.
void Freeze::granted() noexcept {
  Issuer::Impl& issuer = issuer_;
  if (awaited_.fetch_sub(1, std::memory_order_acq_rel) == 1) issuer.notify(all_held_);
}

void Freeze::wait_until_held() noexcept {
  granted();
  issuer_.wait_until_helped([this] { return all_held_.here; });
}

void Freeze::let_go(Inode& inode) noexcept {
  for (auto& hold : holds_) {
    if (hold->inode != &inode) continue;
    dio_inflight_impl(inode.open->inflight).leave(hold->range);
    hold->inode = nullptr;
    return;
  }
}

void Freeze::let_all_go() noexcept {
  for (auto& hold : holds_) {
    if (hold->inode != nullptr) let_go(*hold->inode);
  }
}

// --- the volume's side ---

bool VolumeImpl::frozen() const {
  const std::lock_guard guard(metadata_lock_);
  return freeze_ != nullptr && freeze_->complete;
}

Result<void> VolumeImpl::check_not_frozen_here() const {
  const std::lock_guard guard(metadata_lock_);
  if (freeze_ == nullptr || !freeze_->complete || !freeze_->is_mine()) return {};
  return fail(Errc::busy, "this thread froze the volume; thaw it first");
}

Result<void> VolumeImpl::freeze(Issuer& issuer) {
  check_may_drain();
  // What buffered writes have left in the cache goes first: a copy is to have it. What comes later
  // stays there until the thaw.
  if (!frozen()) {
    if (auto flushed = flush_caches(issuer); !flushed) return flushed;
  }
  {
    const std::lock_guard guard(metadata_lock_);
    if (auto writable = check_writable_locked(); !writable) return writable;
    if (freeze_ != nullptr) return fail(Errc::busy, "the volume is frozen already; thaw it first");
    auto freeze = std::make_unique<Freeze>(issuer.impl());
    for (Inode* inode : open_inodes_)
      freeze->add(*inode);
    freeze_ = std::move(freeze);
    freeze_->hold_all();
  }
  freeze_->wait_until_held();
  // Settled, but what DSYNC writes among them wait for may still be on its way.
  Result<void> result = sync(issuer);
  {
    const std::lock_guard guard(metadata_lock_);
    if (result) journal_.hold(true);
  }
  if (result) {
    issuer.impl().wait_until_helped([this] {
      const std::lock_guard guard(metadata_lock_);
      return !journal_.busy();
    });
    // A record that was started meanwhile may have failed.
    result = check_writable();
  }
  const std::lock_guard guard(metadata_lock_);
  if (result) {
    freeze_->complete = true;
  } else {
    journal_.hold(false);
    freeze_->let_all_go();
    freeze_.reset();
  }
  return result;
}

Result<void> VolumeImpl::thaw(Issuer& issuer) {
  {
    const std::lock_guard guard(metadata_lock_);
    if (freeze_ == nullptr || !freeze_->complete)
      return fail(Errc::invalid, "the volume is not frozen");
    // Here, and not when the journal goes on: the next freeze may have begun by then.
    journal_.hold(false);
    freeze_->let_all_go();
    freeze_.reset();
  }
  journal_.go_on(issuer.impl());
  return {};
}

}  // namespace handback
