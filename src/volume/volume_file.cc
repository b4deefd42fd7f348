#include "volume/volume_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/align.h"
#include "base/planted_bug.h"
#include "dio/flush.h"
#include "dio/inflight.h"
#include "volume/cached_inode.h"
#include "volume/write_prelude.h"

namespace handback {

// --- submission ---

DioRequest VolumeFile::Impl::dio_request(bool tell_start, void* hold, bool checked) noexcept {
  return {.device = &volume.device(),
          .iomap_ops = this,
          .dio_ops = this,
          .inflight = &inode.open->inflight,
          .tell_start = tell_start,
          .guards_data = volume.has_checksums(),
          .publish_in_order = true,
          .checked = checked,
          .hold = hold};
}

Outcome VolumeFile::read_iter(Kiocb& kiocb, IovView to) noexcept {
  Impl& file = *impl_;
  if (kiocb.is_write()) return IoResult::failure(Errc::invalid, IoDetail::flag_direction);
  if (!has(kiocb.ki_flags, KiocbFlags::direct)) return file.read_buffered(kiocb, to);
  CachedInode* const cached = file.cached();
  if (cached == nullptr && !file.unaligned_through_cache) [[likely]]
    return dio_rw(kiocb, to, file.dio_request());
  const IoResult checked = dio_check(kiocb, to, file.volume.device().geometry());
  if (file.carries_through_cache(checked)) return file.read_buffered(kiocb, to);
  if (!checked.ok()) return checked;
  return cached == nullptr ? dio_rw(kiocb, to, file.dio_request())
                           : read_beside_cache(file, *cached, kiocb, to);
}

Outcome VolumeFile::write_iter(Kiocb& kiocb, IovView from) noexcept {
  Impl& file = *impl_;
  if (!kiocb.is_write()) return IoResult::failure(Errc::invalid, IoDetail::flag_direction);
  if (const IoResult writable = file.volume.check_writable_io(); !writable.ok()) return writable;
  if (!has(kiocb.ki_flags, KiocbFlags::direct)) return file.write_buffered(kiocb, from);
  // Before anything is taken for it, so that a request that is refused has changed nothing.
  if (const IoResult checked = dio_check(kiocb, from, file.volume.device().geometry());
      !checked.ok()) {
    return file.carries_through_cache(checked) ? file.write_buffered(kiocb, from)
                                               : Outcome(checked);
  }
  const std::uint64_t length = from.length();
  if (length == 0) return IoResult::success(0);
  if (!has(kiocb.ki_flags, KiocbFlags::append) && kiocb.ki_pos > file_size_bytes_max - length)
    return IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
  CachedInode* const cached = file.cached();
  return cached == nullptr ? file.place_and_start(kiocb, from)
                           : write_beside_cache(file, *cached, kiocb, from);
}

Outcome VolumeFile::Impl::place_and_start(Kiocb& kiocb, IovView from, void* hold) noexcept {
  return start_placed(kiocb, from, hold);
}

Outcome VolumeFile::Impl::start_placed(Kiocb& kiocb, IovView from, void* hold) noexcept {
  const bool tell_start = kiocb.is_dsync() && needs_metadata(kiocb, from.length());
  DioRequest request = dio_request(tell_start, hold, true);
  request.file_end_max = file_end_max(kiocb);
  const Outcome outcome = dio_rw(kiocb, from, request);
  if (!outcome.is_final()) return outcome;
  if (outcome.result() == IoResult::failure(Errc::would_block, IoDetail::gap_unprepared))
    return write_after_tail(*this, kiocb, from, hold);
  // Since this looked, the file has got a page cache.
  if (outcome.result() == IoResult::failure(Errc::would_block, IoDetail::file_is_cached))
    return write_beside_cache(*this, *cached(), kiocb, from);
  return outcome;
}

namespace {

// The extent that this thread found last. Most requests hit the same one again.
struct LastExtent {
  const Inode* inode = nullptr;
  std::uint64_t version = 0;
  ExtentMap::Lookup found;
};
[[gnu::tls_model("initial-exec")]] constinit thread_local LastExtent last_extent;

}  // namespace

ExtentMap::Lookup VolumeFile::Impl::find_extent(std::uint64_t block) const noexcept {
  LastExtent& last = last_extent;
  // As if it had been looked up when the version was read: whoever changes extents that a request
  // could use has drained it, or publishes before the request starts.
  const bool is_current = last.version == inode.map_version.load(std::memory_order_acquire) ||
                          planted(PlantedBug::last_extent_kept);
  if (last.inode == &inode && is_current && block - last.found.offset < last.found.count) [[likely]]
    return last.found;
  const std::lock_guard guard(inode.map_lock);
  const ExtentMap::Lookup found = inode.extents.lookup(block);
  if (!found.hole) last = {&inode, inode.map_version.load(std::memory_order_relaxed), found};
  return found;
}

bool VolumeFile::Impl::needs_metadata(const Kiocb& kiocb, std::uint64_t length) const noexcept {
  if (has(kiocb.ki_flags, KiocbFlags::append)) return true;
  const std::uint64_t end = kiocb.ki_pos + length;
  if (end > size_bytes()) return true;
  const ExtentMap::Lookup found = find_extent(kiocb.ki_pos / fs_block);
  return found.hole || found.extent.unwritten || (found.offset + found.count) * fs_block < end;
}

bool VolumeFile::Impl::gap_unprepared() const noexcept {
  return !planted(PlantedBug::tail_not_cleaned) &&
         inode.open->tail_unclean.load(std::memory_order_relaxed);
}

IoResult VolumeFile::Impl::iomap_begin(Kiocb& /*kiocb*/, const IomapRequest& request,
                                       Iomap* iomap) noexcept {
  const std::uint64_t block = request.offset / fs_block;
  ExtentMap::Lookup found = find_extent(block);
  bool made = false;
  if (request.write && !found.hole &&
      volume.unconfirmed_in(inode, request.offset, request.offset + request.length) != 0) {
    return IoResult::failure(Errc::would_block);
  }
  if (request.write && found.hole) {
    const std::uint64_t end = round_up(request.offset + request.length, fs_block) / fs_block;
    const IoResult taken = volume.allocate_for_write(inode, block, end - block, &found, &made);
    if (!taken.ok()) return taken;
  }
  iomap->offset = found.offset * fs_block;
  iomap->length = found.count * fs_block;
  if (found.hole) {
    iomap->type = IomapType::hole;
    return {};
  }
  iomap->addr = found.extent.addr * fs_block;
  iomap->new_extent = made;
  iomap->type = found.extent.unwritten && !made ? IomapType::unwritten : IomapType::mapped;
  iomap->dirty =
      inode.dirty_sequence.load(std::memory_order_acquire) > volume.journal().durable_sequence();
  return {};
}

namespace {

// A write that waits for a commit before it can be mapped. Lives in a record of the issuer's pool.
struct WayContinuation : CommitWaiter {
  Kiocb* kiocb = nullptr;
  Issuer::Impl* issuer = nullptr;
};
static_assert(sizeof(WayContinuation) <= dio_record_bytes);

}  // namespace

// What is waited for is the log, which waits for no range.
Outcome VolumeFile::Impl::make_way(Kiocb& kiocb, IoResult refused) noexcept {
  if (volume.journal().failed()) return IoResult::failure(Errc::poisoned);
  WayContinuation request;
  if (refused.code() == Errc::no_space) {
    // Blocks freed before become free with the next commit.
    if (refused.detail() != IoDetail::none || volume.blocks_waiting() == 0) return refused;
    const std::lock_guard guard(volume.metadata_lock());
    request.sequence = volume.journal().newest_sequence();
    request.confirm_id = volume.journal().ledger().newest();
  } else {
    request.sequence = volume.journal().durable_sequence();
    const std::uint64_t mark = inode.open->mark_sequence.load(std::memory_order_acquire);
    // That record shows no data.
    request.data_is_durable = mark > request.sequence;
    request.sequence = std::max(request.sequence, mark);
    request.confirm_id = inode.newest_write_id.load(std::memory_order_acquire);
  }
  Issuer::Impl& own = kiocb.issuer->impl();
  Issuer::Impl& issuer = Issuer::Impl::executor(own);
  void* record = issuer.take_dio_record();
  if (record == nullptr) return IoResult::host_failure(ENOMEM);
  auto& continuation = *::new (record) WayContinuation{request};
  continuation.ended = &way_made;
  continuation.kiocb = &kiocb;
  continuation.issuer = &issuer;
  if (&issuer != &own) issuer.begin_background();
  const Outcome started = volume.journal().commit(issuer, continuation);
  if (!started.is_final()) return started;
  issuer.give_back_dio_record(record);
  if (&issuer != &own) issuer.end_background();
  return started;
}

// If the log has failed, the next try finds that.
void VolumeFile::Impl::way_made(CommitWaiter& waiter, IoResult /*result*/) noexcept {
  auto& continuation = static_cast<WayContinuation&>(waiter);
  Kiocb& kiocb = *continuation.kiocb;
  Issuer::Impl& issuer = *continuation.issuer;
  const bool served = &issuer != &kiocb.issuer->impl();
  issuer.give_back_dio_record(&continuation);
  if (served) issuer.end_background();
  dio_retry(kiocb);
}

IoResult VolumeFile::Impl::begin_data(Kiocb& /*kiocb*/, const DioStart& start) noexcept {
  const std::uint64_t end = round_up(start.offset + start.bytes, fs_block) / fs_block;
  const IoResult begun = volume.begin_data(inode, start.offset / fs_block, end);
  if (begun.ok()) volume.take_checksums(start.bios);
  return begun;
}

std::uint64_t VolumeFile::Impl::write_start(Kiocb& kiocb, const DioStart& start) noexcept {
  const std::uint64_t id = volume.log_write(inode, start);
  if (id == 0) return 0;
  const Geometry& geometry = volume.device().geometry();
  if (geometry.volatile_cache && geometry.fua && !planted(PlantedBug::write_data_without_fua)) {
    for (Bio* bio = start.bios; bio != nullptr; bio = bio->next)
      bio->fua = true;
  }
  volume.journal().commit_soon(Issuer::Impl::executor(kiocb.issuer->impl()));
  return id;
}

void VolumeFile::Impl::data_ended(Kiocb& kiocb, std::uint64_t token, bool ok) noexcept {
  volume.write_data_ended(*kiocb.issuer, token, ok);
}

// --- settling ---

Outcome VolumeFile::Impl::end_io(Kiocb& kiocb, const DioEnd& end) noexcept {
  if (!kiocb.is_write()) {
    if (!volume.has_checksums() || !end.result.ok() ||
        volume.data_fits(inode, end.offset, end.iov, end.result.bytes())) [[likely]] {
      return end.result;
    }
    return IoResult::failure(Errc::damaged, IoDetail::data_checksum);
  }
  if (end.data_begun) [[unlikely]] {
    volume.end_data(inode, end.offset / fs_block,
                    round_up(end.offset + end.bytes, fs_block) / fs_block, end.result.ok());
  }
  const IoResult result = write_ended(kiocb, end);
  // After the extents are converted: what is read into the cache from here on is what was written.
  leave_cache(end);
  return result;
}

IoResult VolumeFile::Impl::write_ended(Kiocb& kiocb, const DioEnd& end) noexcept {
  const std::uint64_t end_offset = std::min(end.offset + end.bytes, file_end_max(kiocb));
  IoResult result = end.result;
  if (result.ok()) {
    // A pure overwrite inside the file changes nothing, and may be here in device context.
    const bool append = has(kiocb.ki_flags, KiocbFlags::append);
    if (end.behind_gap && append) {
      // The one before it has failed, and the file ends there.
      if (end.token != 0) volume.write_abandoned(end.token);
      return IoResult::failure(Errc::canceled, IoDetail::behind_failed_append);
    }
    if (end.behind_gap && end.token != 0) volume.write_abandoned(end.token);
    if (end.unwritten || is_extending(end_offset) || end.token != 0) {
      const IoResult settled = volume.write_settled(inode, end.offset, end_offset, end.unwritten,
                                                    end.behind_gap ? 0 : end.token);
      if (!settled.ok()) result = settled;
    }
  } else {
    volume.write_failed(result);
    // It may have left something behind the end of the file, in its last block.
    if (is_extending(end_offset)) inode.open->tail_unclean.store(true, std::memory_order_relaxed);
  }
  return result;
}

namespace {

// A dsync write that waits for the log. Lives in a record of the issuer's pool.
struct CommitContinuation : CommitWaiter {
  Kiocb* kiocb = nullptr;
  Issuer::Impl* issuer = nullptr;
  BlockDevice* device = nullptr;
  IoResult result;
  bool covered = false;  // The data is as durable as its record.

  struct Flush : IssuerWork {
    CommitContinuation* whole = nullptr;
  } flush;
};
static_assert(sizeof(CommitContinuation) <= dio_record_bytes);

void give_back(CommitContinuation& continuation) noexcept {
  Issuer::Impl& issuer = *continuation.issuer;
  const bool served = &issuer != &continuation.kiocb->issuer->impl();
  issuer.give_back_dio_record(&continuation);
  if (served) issuer.end_background();
}

}  // namespace

void VolumeFile::Impl::flush_failed(Kiocb& kiocb, IoResult error) noexcept {
  static_cast<VolumeFile*>(kiocb.ki_filp)->impl_->volume.journal().poison(error);
}

void VolumeFile::Impl::commit_ended(CommitWaiter& waiter, IoResult committed) noexcept {
  auto& continuation = static_cast<CommitContinuation&>(waiter);
  Kiocb& kiocb = *continuation.kiocb;
  Issuer::Impl& issuer = *continuation.issuer;
  if (committed.ok() && !continuation.flush_covers_call && !continuation.covered &&
      continuation.device->geometry().volatile_cache) {
    // The record was on its way before this write's data was down. The flush is for the request's
    // own queue.
    issuer.post(continuation.flush);
    return;
  }
  const IoResult result = committed.ok() ? continuation.result : committed;
  give_back(continuation);
  dio_end_pending(kiocb, result);
}

void VolumeFile::Impl::flush_after_commit(IssuerWork& work) noexcept {
  CommitContinuation& continuation = *static_cast<CommitContinuation::Flush&>(work).whole;
  Kiocb& kiocb = *continuation.kiocb;
  BlockDevice& device = *continuation.device;
  const IoResult result = continuation.result;
  give_back(continuation);
  const Outcome flushed = flush_then_end(kiocb, device, result, &flush_failed);
  if (flushed.is_final()) dio_end_pending(kiocb, flushed.result());
}

Outcome VolumeFile::Impl::write_sync(Kiocb& kiocb, const DioEnd& end) noexcept {
  const std::uint64_t sequence = inode.dirty_sequence.load(std::memory_order_acquire);
  const bool covered = end.token != 0 && !end.behind_gap;
  if (sequence <= volume.journal().durable_sequence()) {
    if (volume.journal().failed()) return IoResult::failure(Errc::poisoned);
    if (!volume.device().geometry().volatile_cache || covered) return end.result;
    return flush_then_end(kiocb, volume.device(), end.result, &flush_failed);
  }
  Issuer::Impl& own = kiocb.issuer->impl();
  Issuer::Impl& issuer = Issuer::Impl::executor(own);
  void* record = issuer.take_dio_record();
  if (record == nullptr) return IoResult::host_failure(ENOMEM);
  auto& continuation = *::new (record) CommitContinuation{};
  continuation.sequence = sequence;
  continuation.ended = &commit_ended;
  continuation.kiocb = &kiocb;
  continuation.issuer = &issuer;
  continuation.device = &volume.device();
  continuation.result = end.result;
  continuation.covered = covered;
  continuation.data_is_durable = covered;
  continuation.flush.whole = &continuation;
  continuation.flush.run = &flush_after_commit;
  // The record is of its pool, and somebody else may lead the commit.
  if (&issuer != &own) issuer.begin_background();
  own.set_needs_others();
  const Outcome started = volume.journal().commit(issuer, continuation);
  if (!started.is_final()) return started;
  issuer.give_back_dio_record(record);
  if (&issuer != &own) issuer.end_background();
  return started.result().ok() ? end.result : started.result();
}

// --- the rest of the interface ---

VolumeFile::VolumeFile(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
VolumeFile::~VolumeFile() = default;

std::uint64_t VolumeFile::ino() const noexcept {
  return impl_->inode.ino;
}
std::uint64_t VolumeFile::size() const noexcept {
  return impl_->visible_size();
}

FileInfo VolumeFile::info() const {
  const std::lock_guard guard(impl_->volume.metadata_lock());
  return VolumeImpl::file_info(impl_->inode);
}

std::vector<ExtentInfo> VolumeFile::extents() const {
  const std::lock_guard guard(impl_->inode.map_lock);
  std::vector<ExtentInfo> list;
  list.reserve(impl_->inode.extents.size());
  for (const auto& [offset, extent] : impl_->inode.extents.all()) {
    list.push_back({offset * fs_block, extent.addr * fs_block,
                    std::uint64_t{extent.count} * fs_block, extent.unwritten});
  }
  return list;
}

Result<void> VolumeFile::truncate(Issuer& issuer, std::uint64_t size_bytes) {
  return impl_->truncate(issuer, size_bytes);
}

Result<void> VolumeFile::Impl::truncate(Issuer& issuer, std::uint64_t size, Resize resize) {
  if (size > file_size_bytes_max) {
    return fail(Errc::too_large, fmt::format("a file has at most {} bytes", file_size_bytes_max));
  }
  if (auto writable = volume.check_writable(); !writable) return writable;
  if (auto thawed = volume.check_not_frozen_here(); !thawed) return thawed;
  // Nothing may be in flight on blocks that are about to go, and nothing may grow the file
  // meanwhile. While this waited in line the file may have become shorter than what it then holds.
  CacheDrain cache(*this, issuer, round_down(std::min(size, visible_size()), page_bytes),
                   ~std::uint64_t{0});
  // A write that has left its range may still wait for its pages to be written back (DSYNC):
  // started later, that would stand in line behind this, and bring back what is cut off.
  if (!planted(PlantedBug::cache_truncate_leaves_dirty_pages)) cache.start_nothing_behind(size);
  // What the file has below its new end, and beyond what is published, must not become zeros.
  if (auto cleaned = cache.clean(0, size); !cleaned) return cleaned;
  std::uint64_t from = 0;
  std::optional<DioInflight::Drain> drain;
  do {
    drain.reset();
    from = round_down(std::min(size, size_bytes()), fs_block);
    drain.emplace(inode.open->inflight, issuer, from, ~std::uint64_t{0});
  } while (round_down(std::min(size, size_bytes()), fs_block) < from);
  // What buffered writes have put behind the published end counts, too.
  if (resize == Resize::at_least && size <= visible_size() &&
      !planted(PlantedBug::preallocate_cuts_the_file)) {
    return {};
  }
  const std::uint64_t old_size = size_bytes();
  // The tail may be zeroed in place, now or later.
  if (auto confirmed = volume.wait_until_confirmed(issuer, inode); !confirmed) return confirmed;
  if (size > old_size && inode.open->tail_unclean.load(std::memory_order_relaxed)) {
    if (auto cleaned = volume.clean_tail_and_wait(issuer, inode, round_down(old_size, fs_block));
        !cleaned) {
      return cleaned;
    }
  }
  if (auto done = volume.set_size(inode, size); !done) return done;
  cache.truncated(size);
  if (size >= old_size || size % fs_block == 0) return {};
  inode.open->tail_unclean.store(true, std::memory_order_relaxed);
  // Whoever enters from here on finds the tail unclean (gap_unprepared). A write that stands in
  // line has entered when it was another one, and may begin behind the end. For it the tail is
  // zeroed here, once the new end is durable: what is zeroed must not come back as a part of the
  // file.
  if (!dio_inflight_impl(inode.open->inflight).anyone_in_line() ||
      planted(PlantedBug::truncate_leaves_the_tail_to_the_line))
    return {};
  const std::uint64_t sequence = inode.dirty_sequence.load(std::memory_order_acquire);
  if (auto durable = volume.commit_up_to(issuer, sequence); !durable) return durable;
  return volume.clean_tail_and_wait(issuer, inode, round_down(size, fs_block));
}

Result<void> VolumeFile::preallocate(std::uint64_t offset, std::uint64_t length) {
  return impl_->volume.preallocate(impl_->inode, offset, length);
}

Result<void> VolumeFile::preallocate(Issuer& issuer, std::uint64_t offset, std::uint64_t length,
                                     const PreallocateOptions& options) {
  return impl_->preallocate(issuer, offset, length, options);
}

Result<void> VolumeFile::fsync(Issuer& issuer) {
  if (impl_->volume.read_only()) return {};
  if (auto writable = impl_->volume.check_writable(); !writable) return writable;
  if (auto flushed = impl_->flush_cache(issuer); !flushed) return flushed;
  const std::uint64_t sequence = impl_->inode.dirty_sequence.load(std::memory_order_acquire);
  if (sequence > impl_->volume.journal().durable_sequence()) {
    return impl_->volume.commit_up_to(issuer, sequence);
  }
  return impl_->volume.flush_device(issuer);
}

Result<void> VolumeFile::close(Issuer& issuer) {
  return impl_->flush_cache(issuer);
}

Result<void> VolumeFile::set_mtime(std::int64_t mtime_ns) {
  return impl_->volume.set_mtime(impl_->inode, mtime_ns);
}

}  // namespace handback
