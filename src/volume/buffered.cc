// Buffered requests of a volume's file, and its page cache as the file's other calls see it.
#include <fmt/format.h>

#include <algorithm>

#include "base/align.h"
#include "base/assert.h"
#include "base/planted_bug.h"
#include "volume/cached_inode.h"

namespace handback {
namespace {

IoResult check_flags(const Kiocb& kiocb) noexcept {
  const KiocbFlags flags = kiocb.ki_flags;
  const bool write = kiocb.is_write();
  const auto invalid = [](IoDetail detail) { return IoResult::failure(Errc::invalid, detail); };
  if (has(flags, ~kiocb_flags_known)) return invalid(IoDetail::flag_unknown);
  if (has(flags, KiocbFlags::hipri)) return invalid(IoDetail::flag_hipri);
  if (has(flags, KiocbFlags::atomic))
    return IoResult::failure(Errc::not_supported, IoDetail::flag_atomic);
  if (has(flags, KiocbFlags::waitq) &&
      (write || has(flags, KiocbFlags::direct) || kiocb.ki_waitq() == nullptr))
    return invalid(IoDetail::flag_waitq);
  if (write && has(flags, KiocbFlags::noio)) return invalid(IoDetail::flag_noio);
  if (!write && has(flags, KiocbFlags::append)) return invalid(IoDetail::flag_append_read);
  return {};
}

IoResult check_length(const Kiocb& kiocb, IovView iov) noexcept {
  std::uint64_t length = 0;
  for (std::uint32_t i = 0; i < iov.count; ++i) {
    if (iov.segments[i].iov_len > io_length_bytes_max - length)
      return IoResult::failure(Errc::too_large, IoDetail::length_beyond_limit);
    length += iov.segments[i].iov_len;
  }
  const bool append = has(kiocb.ki_flags, KiocbFlags::append);
  constexpr std::uint64_t end_max = std::uint64_t{1} << 63;
  const std::uint64_t limit = kiocb.is_write() ? file_size_bytes_max : end_max;
  if (!append && kiocb.ki_pos > limit - length)
    return IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
  return {};
}

}  // namespace

CachedInode* VolumeFile::Impl::cached_or_new() {
  if (CachedInode* const there = cached(); there != nullptr) [[likely]]
    return there;
  return volume.cache_inode(inode);
}

Outcome VolumeFile::Impl::read_buffered(Kiocb& kiocb, IovView to) noexcept {
  if (const IoResult flags = check_flags(kiocb); !flags.ok()) return flags;
  if (const IoResult length = check_length(kiocb, to); !length.ok()) return length;
  CachedInode* const cached = cached_or_new();
  if (cached == nullptr) return IoResult::failure(Errc::not_supported, IoDetail::flag_not_direct);
  return cached->space.read(kiocb, to, ahead);
}

Outcome VolumeFile::Impl::write_buffered(Kiocb& kiocb, IovView from) noexcept {
  if (const IoResult flags = check_flags(kiocb); !flags.ok()) return flags;
  if (const IoResult length = check_length(kiocb, from); !length.ok()) return length;
  if (from.length() == 0) return IoResult::success(0);
  CachedInode* const cached = cached_or_new();
  if (cached == nullptr) return IoResult::failure(Errc::not_supported, IoDetail::flag_not_direct);
  // A direct one that only the cache can carry out is on the device when it ends, as any.
  return cached->space.write(kiocb, from, has(kiocb.ki_flags, KiocbFlags::direct));
}

bool VolumeFile::Impl::carries_through_cache(IoResult checked) const noexcept {
  return unaligned_through_cache && checked.code() == Errc::invalid &&
         (checked.detail() == IoDetail::offset_unaligned ||
          checked.detail() == IoDetail::length_unaligned ||
          checked.detail() == IoDetail::buffer_unaligned);
}

bool VolumeFile::Impl::has_cached_pages(std::uint64_t offset, std::uint64_t length) const noexcept {
  const CachedInode* const beside = cached();
  return beside != nullptr && beside->space.has_pages(offset, offset + length);
}

void VolumeFile::Impl::leave_cache(const DioEnd& end) noexcept {
  if (end.hold != nullptr) {
    leave_cache_range(end.hold, end.offset, end.offset + end.bytes);
    return;
  }
  // It started before the file had a page cache; a buffered read may have come since.
  if (CachedInode* const beside = cached(); beside != nullptr) [[unlikely]]
    beside->space.invalidate(end.offset, end.offset + end.bytes);
}

std::uint64_t VolumeFile::Impl::visible_size() const noexcept {
  const CachedInode* const beside = cached();
  return beside == nullptr ? size_bytes() : beside->space.size();
}

Result<void> VolumeFile::Impl::tell_write_back_errors() {
  CachedInode* const beside = cached();
  if (beside == nullptr) return {};
  const std::uint64_t errors = beside->space.errors();
  if (errors_told.exchange(errors, std::memory_order_relaxed) >= errors ||
      planted(PlantedBug::cache_error_untold))
    return {};
  const IoResult last = beside->space.last_error();
  return fail(last.code(), fmt::format("writing back what buffered writes left in the cache failed "
                                       "since this was asked last: {}; what could not be written "
                                       "is still in memory, fsync tries again",
                                       describe(last)));
}

Result<void> VolumeFile::Impl::flush_cache(Issuer& issuer, std::uint64_t offset,
                                           std::uint64_t end) {
  CachedInode* const beside = cached();
  if (beside == nullptr) return {};
  if (beside->space.has_unwritten_back(offset, end)) {
    if (auto thawed = volume.check_not_frozen_here(); !thawed) return thawed;
    const IoResult flushed = beside->space.flush_and_wait(issuer, offset, end);
    if (!flushed.ok()) {
      if (auto told = tell_write_back_errors(); !told) return told;
      return fail(
          flushed.code(),
          fmt::format("writing back what buffered writes left in the cache failed: {}; what "
                      "could not be written is still in memory, fsync tries again",
                      describe(flushed)));
    }
  }
  return tell_write_back_errors();
}

// --- CacheDrain ---

CacheDrain::CacheDrain(VolumeFile::Impl& file, Issuer& issuer, std::uint64_t offset,
                       std::uint64_t end)
    : file_(file), issuer_(issuer), cached_(file.cached()), offset_(offset), end_(end) {
  if (cached_ == nullptr) return;
  drain_.emplace(cached_->space.ranges, issuer, offset, end - offset, LockRank::cached_range);
}

CacheDrain::~CacheDrain() = default;

Result<void> CacheDrain::clean(std::uint64_t offset, std::uint64_t end) {
  if (cached_ == nullptr) return {};
  if (offset < end && cached_->space.has_unwritten_back(offset, end)) {
    const IoResult flushed = cached_->space.flush_and_wait(issuer_, offset, end);
    if (!flushed.ok()) {
      return fail(flushed.code(),
                  fmt::format("writing back what buffered writes left in the cache failed: {}",
                              describe(flushed)));
    }
  }
  cached_->space.wait_until_idle(issuer_, offset_, end_);
  return {};
}

void CacheDrain::start_nothing_behind(std::uint64_t offset) noexcept {
  if (cached_ == nullptr || !cached_->space.has_unwritten_back(offset, end_)) return;
  // What fails stays dirty, and nobody tries it again unasked.
  static_cast<void>(cached_->space.flush_and_wait(issuer_, offset, end_));
}

void CacheDrain::forget() noexcept {
  if (cached_ != nullptr) cached_->space.drop(offset_, end_);
}

void CacheDrain::truncated(std::uint64_t size) noexcept {
  if (cached_ == nullptr) return;
  cached_->space.truncated(size);
  cached_->space.drop(round_up(size, page_bytes), ~std::uint64_t{0});
}

// --- the volume's side ---

OpenInode::OpenInode() = default;

OpenInode::~OpenInode() {
  delete cached.load(std::memory_order_relaxed);
}

CachedInode* VolumeImpl::cache_inode(Inode& inode) {
  const std::lock_guard guard(metadata_lock_);
  if (cache_options_.memory_bytes_max == 0) return nullptr;
  if (page_cache_ == nullptr) {
    page_cache_ = std::make_unique<PageCache>(cache_options_);
    page_cache_->on_dirty(
        [](void* hook) noexcept { static_cast<PollHook*>(hook)->set_idle(false); }, hook_.get());
  }
  CachedInode* made = inode.open->cached.load(std::memory_order_relaxed);
  if (made == nullptr) {
    made = new CachedInode(*this, inode, *page_cache_);
    inode.open->cached.store(made, std::memory_order_release);
  }
  return made;
}

Result<void> VolumeImpl::flush_caches(Issuer& issuer) {
  std::vector<CachedInode*> dirty;
  {
    const std::lock_guard guard(metadata_lock_);
    if (page_cache_ == nullptr) return {};
    for (Inode* inode : open_inodes_) {
      CachedInode* const cached = inode->open->cached.load(std::memory_order_relaxed);
      if (cached == nullptr || cached->space.is_clean()) continue;
      ++cached->pins;
      dirty.push_back(cached);
    }
  }
  Result<void> result;
  for (CachedInode* cached : dirty) {
    const IoResult flushed = cached->space.flush_and_wait(issuer);
    if (flushed.ok() || !result) continue;
    result = fail(flushed.code(),
                  fmt::format("{}: writing back what buffered writes left in the cache failed: {}",
                              device_.name(), describe(flushed)));
  }
  const std::lock_guard guard(metadata_lock_);
  for (CachedInode* cached : dirty)
    --cached->pins;
  let_go_of_unused();
  return result;
}

void VolumeImpl::write_back_old(Issuer::Impl& issuer, std::uint64_t now_ns) {
  std::vector<CachedInode*> old;
  {
    const std::lock_guard guard(metadata_lock_);
    for (Inode* inode : open_inodes_) {
      CachedInode* const cached = inode->open->cached.load(std::memory_order_relaxed);
      if (cached == nullptr || !cached->space.is_dirty_since(commit_interval_ns_, now_ns)) continue;
      ++cached->pins;
      old.push_back(cached);
    }
  }
  for (CachedInode* cached : old)
    cached->space.start_write_back(issuer);
  const std::lock_guard guard(metadata_lock_);
  for (CachedInode* cached : old)
    --cached->pins;
  let_go_of_unused();
}

void VolumeImpl::let_go_of_unused() {
  if (unused_open_ == 0) return;
  std::vector<Inode*> unused;
  for (Inode* inode : open_inodes_) {
    if (inode->open->handles != 0) continue;
    CachedInode* const cached = inode->open->cached.load(std::memory_order_relaxed);
    // Nobody will read what a file without a name holds.
    if (cached->pins == 0 && cached->space.try_drop_all(inode->nlink == 0)) unused.push_back(inode);
  }
  for (Inode* inode : unused) {
    --unused_open_;
    let_go(*inode);
  }
}

void VolumeImpl::discard_caches() noexcept {
  if (page_cache_ == nullptr) return;
  Issuer::Impl* const here = Issuer::Impl::of_this_thread();
  const auto idle = [this] {
    const std::lock_guard guard(metadata_lock_);
    return std::all_of(open_inodes_.begin(), open_inodes_.end(), [](const Inode* inode) {
      CachedInode* const cached = inode->open->cached.load(std::memory_order_relaxed);
      return cached == nullptr || cached->space.is_idle();
    });
  };
  if (!idle()) {
    HB_ASSERT(here != nullptr,
              "a volume with a write-back under way goes on a thread that has an issuer");
    here->wait_until_helped(idle);
  }
  for (Inode* inode : open_inodes_) {
    if (CachedInode* const cached = inode->open->cached.load(std::memory_order_relaxed);
        cached != nullptr)
      cached->space.drop(0, ~std::uint64_t{0});
    inode->open.reset();
  }
  open_inodes_.clear();
  page_cache_.reset();
}

}  // namespace handback
