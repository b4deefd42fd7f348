// The direct-I/O engine: one request from its checks to its one exit.
//
// Life of a Dio:
//   dio_rw: (stand in line for the range), build bios, submit, drop the submission's reference
//   each bio's end: record the error, drop a reference
//   the last reference: drop_last_reference routes, the route settles, the request ends
#include <algorithm>
#include <cerrno>
#include <new>

#include "base/align.h"
#include "base/assert.h"
#include "base/planted_bug.h"
#include "dio/dio.h"
#include "dio/fua_policy.h"
#include "dio/handler.h"
#include "dio/segment_cursor.h"
#include "dio/trace_points.h"
#include "issuer/worker_pool.h"

namespace handback {

class DioEngine {
 public:
  static Outcome begin(Kiocb& kiocb, IovView iov, const DioRequest& request,
                       std::uint32_t length) noexcept;
  static IoResult refuse(Kiocb& kiocb, const DioRequest& request, std::uint32_t length,
                         IoResult error) noexcept;
  static Outcome start(Dio& dio) noexcept;
  static void end_pending(Kiocb& kiocb, IoResult result) noexcept;
  static void retry(Kiocb& kiocb) noexcept;

 private:
  struct BioChain {
    Bio* first = nullptr;
    Bio* last = nullptr;
    std::uint32_t count = 0;
  };

  static void free_dio(Dio& dio) noexcept;
  static void free_bio(Dio& dio, Bio& bio) noexcept;
  static void free_chain(Dio& dio, BioChain& chain) noexcept;
  static bool enter_range(Dio& dio, Outcome* ended) noexcept;
  static bool place(RangeEntry& entry, std::uint64_t reserved_end) noexcept;
  static IoResult map_or_make_way(Dio& dio, BioChain& chain, bool* waits) noexcept;
  static IoResult map_and_build(Dio& dio, BioChain& chain) noexcept;
  static DioStart start_of(const Dio& dio, const BioChain& chain) noexcept;
  static IoResult begin_data(Dio& dio, const BioChain& chain) noexcept;
  static IoResult build_mapping(Dio& dio, const Iomap& iomap, std::uint64_t offset,
                                std::uint32_t length, SegmentCursor& cursor, BioChain& chain,
                                bool fua) noexcept;
  static void prepare_bio(Dio& dio, DioBio& bio, std::uint64_t addr, std::uint32_t at,
                          bool fua) noexcept;
  static void add_to_chain(BioChain& chain, Bio& bio) noexcept;
  static FuaChoice choose_fua(const Dio& dio, const Iomap& iomap) noexcept;
  static DioBio* new_bio(Dio& dio) noexcept;
  static void bio_end(Bio& bio) noexcept;
  static void fail(Dio& dio, IoResult error, std::uint32_t at) noexcept;
  static void drop_last_reference(Dio& dio) noexcept;
  static IoResult result_of(const Dio& dio) noexcept;
  static Outcome settle(Dio& dio) noexcept;
  static Outcome settle_handed_back(Kiocb& kiocb) noexcept;
  static Outcome run_stage(Dio& dio, IoResult result) noexcept;
  static Outcome advance(Dio& dio, Outcome outcome) noexcept;
  static void wake_waiter(Dio& dio) noexcept;
  static void to_worker(Dio& dio, Dio::ResumeAs as) noexcept;
  static void go_on(Dio& dio) noexcept;
  static Outcome end_unplaced(Dio& dio) noexcept;
  static Outcome end_unstarted(Dio& dio, IoResult error) noexcept;
  static bool withdraw(InLine& entry) noexcept;
  static void cancel(InLine& entry) noexcept;
  static void resume(IssuerWork& work) noexcept;
};

// --- records ---

void DioEngine::free_dio(Dio& dio) noexcept {
  Issuer::Impl* own = dio.issuer;
  Issuer::Impl* home = dio.home;
  Issuer::Impl* started = dio.started;
  dio.~Dio();
  home->give_back_dio_record(&dio);
  if (started != nullptr && started != own) started->end_background();
  if (home != own) home->end_background();
}

DioBio* DioEngine::new_bio(Dio& dio) noexcept {
  if (!dio.first_bio_used) {
    dio.first_bio_used = true;
    return ::new (dio.first_bio()) DioBio;
  }
  void* record = dio.started->take_bio_record();
  return record == nullptr ? nullptr : ::new (record) DioBio;
}

void DioEngine::free_bio(Dio& dio, Bio& bio) noexcept {
  if (&bio != dio.first_bio()) dio.started->give_back_bio_record(&bio);
}

void DioEngine::free_chain(Dio& dio, BioChain& chain) noexcept {
  while (chain.first != nullptr) {
    Bio* next = chain.first->next;
    free_bio(dio, *chain.first);
    chain.first = next;
  }
  dio.first_bio_used = false;
}

// --- submission ---

// It passed the checks, so the file is told; there is nothing to submit a continuation for.
IoResult DioEngine::refuse(Kiocb& kiocb, const DioRequest& request, std::uint32_t length,
                           IoResult error) noexcept {
  const Outcome ended = request.dio_ops->end_io(kiocb, DioEnd{.offset = kiocb.ki_pos,
                                                              .bytes = length,
                                                              .result = error,
                                                              .hold = request.hold,
                                                              .started = false});
  HB_ASSERT(ended.is_final(), "a request that was never started needs no continuation");
  trace_complete(kiocb, kiocb.ki_pos, length, error);
  return error;
}

Outcome DioEngine::begin(Kiocb& kiocb, IovView iov, const DioRequest& request,
                         std::uint32_t length) noexcept {
  Issuer::Impl& issuer = kiocb.issuer->impl();
  Issuer::Impl& home = Issuer::Impl::executor(issuer);
  void* record = home.take_dio_record();
  if (record == nullptr) return refuse(kiocb, request, length, IoResult::host_failure(ENOMEM));
  // Not Dio{}: the room for a bio is not to be cleared.
  Dio& dio = *::new (record) Dio;
  dio.kiocb = &kiocb;
  dio.issuer = &issuer;
  dio.home = &home;
  if (&home != &issuer) home.begin_background();
  dio.request = request;
  dio.iov = iov;
  dio.offset = kiocb.ki_pos;
  dio.length = length;
  dio.length_valid = length;
  dio.write = kiocb.is_write();
  dio.resume.dio = &dio;
  dio.resume.run = &DioEngine::resume;
  kiocb.private_ = &dio;

  Outcome ended{NotFinal{}};
  if (!enter_range(dio, &ended)) return ended;
  return start(dio);
}

// False if the request does not start now: it stands in line, or has ended with *ended.
bool DioEngine::enter_range(Dio& dio, Outcome* ended) noexcept {
  DioInflight* inflight = dio.request.inflight;
  if (inflight == nullptr) return true;
  RangeEntry& range = dio.range;
  range.offset = dio.offset;
  range.end = dio.offset + dio.length;
  range.mode = dio.write ? RangeMode::write : RangeMode::read;
  range.owner = &dio;
  if (dio.write) {
    range.place = &DioEngine::place;
    range.publishable = [](RangeEntry& entry) noexcept {
      Dio& ready = *static_cast<Dio*>(entry.owner);
      if (ready.kiocb->route == Route::worker) {
        to_worker(ready, Dio::ResumeAs::settle);
        return;
      }
      ready.resume_as = Dio::ResumeAs::settle;
      go_on(ready);
    };
  }
  range.granted = [](RangeEntry& entry) noexcept {
    Dio& started = *static_cast<Dio*>(entry.owner);
    started.issuer->in_line().remove(started.in_line);
    go_on(started);
  };
  using Entered = DioInflight::Impl::Entered;
  const Entered entered = inflight->impl_->enter(range, true);
  if (entered == Entered::granted) [[likely]]
    return true;
  if (entered == Entered::no_place) {
    *ended = end_unplaced(dio);
    return false;
  }
  if (has(dio.kiocb->ki_flags, KiocbFlags::nowait) && !planted(PlantedBug::nowait_stands_in_line)) {
    *ended = end_unstarted(dio, IoResult::failure(Errc::would_block));
    return false;
  }
  // Once it stands in line, an asynchronous request may be started, settled and gone before enter()
  // returns: a thread that waits may adopt it.
  const bool sync = dio.kiocb->is_sync();
  Issuer::Impl& issuer = *dio.issuer;
  if (!sync) {
    dio.in_line.dio = &dio;
    dio.in_line.withdraw = &DioEngine::withdraw;
    dio.in_line.cancel = &DioEngine::cancel;
    issuer.in_line().add(dio.in_line);
  }
  const Entered stands = inflight->impl_->enter(range, false);
  if (stands != Entered::queued) {
    issuer.in_line().remove(dio.in_line);
    if (stands == Entered::granted) return true;
    *ended = end_unplaced(dio);
    return false;
  }
  issuer.set_needs_others();
  if (behaves_as_before(OldBehaviour::gate_blocks)) [[unlikely]]
    issuer.wait_until_helped([&] { return !inflight->impl_->stands_in_line(range); });
  if (!sync) return false;
  issuer.wait_until_helped([&] { return dio.ended; });
  dio.ended = false;
  return true;
}

// Takes the write's place: at the end of the file for an APPEND. Under the table's lock.
bool DioEngine::place(RangeEntry& entry, std::uint64_t reserved_end) noexcept {
  Dio& dio = *static_cast<Dio*>(entry.owner);
  Kiocb& kiocb = *dio.kiocb;
  const std::uint64_t size = dio.request.dio_ops->size_bytes();
  const std::uint64_t end =
      planted(PlantedBug::append_place_ignores_those_before) ? size : std::max(size, reserved_end);
  if (dio.request.publish_in_order && has(kiocb.ki_flags, KiocbFlags::append)) {
    if (!is_aligned(end, dio.request.device->geometry().logical_block_bytes)) {
      dio.no_place = IoResult::failure(Errc::invalid, IoDetail::offset_unaligned);
      return false;
    }
    if (end > dio.request.dio_ops->size_bytes_max() - dio.length) {
      dio.no_place = IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
      return false;
    }
    kiocb.ki_pos = end;
    dio.offset = end;
  } else if (dio.offset > size && !has(kiocb.ki_flags, KiocbFlags::append) &&
             dio.request.dio_ops->gap_unprepared()) {
    dio.no_place = IoResult::failure(Errc::would_block, IoDetail::gap_unprepared);
    return false;
  }
  if (dio.request.hold == nullptr && dio.request.dio_ops->must_hold() &&
      !planted(PlantedBug::range_entered_without_a_hold)) [[unlikely]] {
    dio.no_place = IoResult::failure(Errc::would_block, IoDetail::file_is_cached);
    return false;
  }
  entry.offset = dio.offset;
  entry.end = dio.offset + dio.length;
  entry.file_end = std::min(entry.end, dio.request.file_end_max);
  // Also if a longer one is in flight: this one may be the first to publish a size.
  entry.extending = dio.request.publish_in_order && entry.file_end > size;
  dio.size_at_entry = size;
  const std::uint32_t fs_block = dio.request.iomap_ops->fs_block_bytes();
  if (dio.request.guards_data) [[unlikely]] {
    entry.mode = planted(PlantedBug::checksum_reads_not_excluded) ? RangeMode::write_exclusive
                                                                  : RangeMode::everything;
    entry.offset = round_down(entry.offset, fs_block);
    entry.end = round_up(entry.end, fs_block);
  } else if (dio.request.tell_start || !is_aligned(entry.offset | entry.end, fs_block)) {
    // Zeroing around a partial block must not meet another write to that block.
    if (!planted(PlantedBug::partial_block_not_exclusive)) entry.mode = RangeMode::write_exclusive;
    entry.offset = round_down(entry.offset, fs_block);
    entry.end = round_up(entry.end, fs_block);
  }
  return true;
}

// Ends a request that could not have a place. One that the file starts anew is not told of.
Outcome DioEngine::end_unplaced(Dio& dio) noexcept {
  const IoResult why = dio.no_place;
  if (why != IoResult::failure(Errc::would_block, IoDetail::gap_unprepared) &&
      why != IoResult::failure(Errc::would_block, IoDetail::file_is_cached))
    return end_unstarted(dio, why);
  dio.kiocb->private_ = nullptr;
  free_dio(dio);
  return why;
}

// Ends a request that never entered its range.
Outcome DioEngine::end_unstarted(Dio& dio, IoResult error) noexcept {
  dio.request.inflight = nullptr;
  fail(dio, error, 0);
  dio.kiocb->route = Route::submit;
  dio.kiocb->route_reason = RouteReason::error;
  if (may_run_handler_here(dio)) return settle(dio);
  dio.kiocb->route = Route::worker;
  dio.kiocb->route_reason = RouteReason::handler_waits;
  to_worker(dio, Dio::ResumeAs::settle);
  return NotFinal{};
}

bool DioEngine::withdraw(InLine& entry) noexcept {
  Dio& dio = *static_cast<Dio::Standing&>(entry).dio;
  return dio.request.inflight->impl_->withdraw(dio.range, &dio.range.granted_next);
}

// The issuer's thread has ended.
void DioEngine::cancel(InLine& entry) noexcept {
  Dio& dio = *static_cast<Dio::Standing&>(entry).dio;
  Kiocb& kiocb = *dio.kiocb;
  DioInflight::Impl::call_granted(dio.range.granted_next);
  const Outcome outcome = end_unstarted(dio, IoResult::failure(Errc::canceled));
  if (outcome.is_final()) kiocb.ki_complete(kiocb, outcome);
}

// Brings the request back to where it can go on: its own thread if somebody waits there for it,
// else to its issuer or whoever adopts it.
void DioEngine::go_on(Dio& dio) noexcept {
  if (dio.kiocb->is_sync()) {
    dio.issuer->notify(dio.resume);
  } else {
    dio.issuer->post(dio.resume);
  }
}

// Its turn in line has come, a worker takes it, a continuation has ended elsewhere, or (for a
// synchronous caller) what it waits for has happened.
void DioEngine::resume(IssuerWork& work) noexcept {
  Dio& dio = *static_cast<Dio::Resume&>(work).dio;
  if (dio.kiocb->is_sync()) {
    dio.ended = true;
    return;
  }
  Kiocb& kiocb = *dio.kiocb;
  Outcome outcome{NotFinal{}};
  switch (dio.resume_as) {
    case Dio::ResumeAs::start:
      outcome = start(dio);
      break;
    case Dio::ResumeAs::settle:
      outcome = settle(dio);
      break;
    case Dio::ResumeAs::advance:
      outcome = advance(dio, dio.pending_result);
      break;
  }
  if (outcome.is_final()) kiocb.ki_complete(kiocb, outcome);
}

Outcome DioEngine::start(Dio& dio) noexcept {
  check_may(Acts::submit);
  Kiocb& kiocb = *dio.kiocb;
  BioChain chain;
  IoResult built;
  dio.started = &Issuer::Impl::executor(*dio.issuer);
  if (dio.started != dio.issuer) dio.started->begin_background();
  BlockQueue* queue = dio.started->queue_for(*dio.request.device);
  if (queue == nullptr) {
    built = IoResult::host_failure(EIO);
  } else {
    bool waits = false;
    built = map_or_make_way(dio, chain, &waits);
    if (waits) return NotFinal{};
  }
  if (!built.ok()) {
    // Nothing was submitted, so nothing has changed on the device.
    free_chain(dio, chain);
    chain = BioChain{};
    fail(dio, built, 0);
  }
  if (dio.request.tell_start && dio.needs_sync && chain.first != nullptr) {
    dio.token = dio.request.dio_ops->write_start(kiocb, start_of(dio, chain));
  }
  const bool sync = kiocb.is_sync();
  const RwQueuedPoint queued(dio);
  dio.references.set(chain.count + 1);
  if (chain.first != nullptr) {
    const ShieldScope shield;
    queue->submit(chain.first);
  }

  // From the decrement on, unless it was the last: the request may be routed and gone on another
  // thread (async), or the last bio wakes this one (sync).
  if (!dio.references.drop()) {
    if (!sync) {
      queued.emit();
      return NotFinal{};
    }
    dio.issuer->wait_until([&] { return dio.ended; });
    dio.ended = false;
    kiocb.route = Route::waiter;
    kiocb.route_reason = RouteReason::sync_caller;
  } else {
    kiocb.route = Route::submit;
    kiocb.route_reason = built.ok() ? RouteReason::submit_ended : RouteReason::error;
    if (!may_run_handler_here(dio)) [[unlikely]] {
      // It stood in line, and was started as somebody's handed-back work.
      kiocb.route = Route::worker;
      kiocb.route_reason = RouteReason::handler_waits;
      to_worker(dio, Dio::ResumeAs::settle);
      return NotFinal{};
    }
  }
  return settle(dio);
}

// Maps the request, as often as the file can make way for it. With *waits, it will be started again
// and may have been already.
IoResult DioEngine::map_or_make_way(Dio& dio, BioChain& chain, bool* waits) noexcept {
  constexpr std::uint8_t tries_max = 8;
  Kiocb& kiocb = *dio.kiocb;
  for (;;) {
    IoResult built = map_and_build(dio, chain);
    if (dio.request.guards_data && dio.write && built.ok()) [[unlikely]]
      built = begin_data(dio, chain);
    const bool may_help = built.code() == Errc::no_space || built.code() == Errc::would_block;
    if (built.ok() || !dio.write || !may_help || has(kiocb.ki_flags, KiocbFlags::nowait) ||
        dio.tries == tries_max) [[likely]] {
      return built;
    }
    ++dio.tries;
    free_chain(dio, chain);
    chain = BioChain{};
    dio.needs_sync = dio.unwritten = dio.new_extent = dio.shared = false;
    const bool sync = kiocb.is_sync();
    dio.resume_as = Dio::ResumeAs::start;
    if (dio.started != dio.issuer) dio.started->end_background();
    dio.started = nullptr;
    Issuer::Impl& issuer = *dio.issuer;
    const Outcome way = dio.request.iomap_ops->make_way(kiocb, built);
    if (!way.is_final() && !sync) {
      issuer.set_needs_others();
      *waits = true;
      return built;
    }
    if (!way.is_final()) {
      issuer.wait_until_helped([&] { return dio.ended; });
      dio.ended = false;
    }
    dio.started = &Issuer::Impl::executor(issuer);
    if (dio.started != &issuer) dio.started->begin_background();
    if (way.is_final() && !way.result().ok()) return way.result();
  }
}

DioStart DioEngine::start_of(const Dio& dio, const BioChain& chain) noexcept {
  return {.offset = dio.offset,
          .bytes = dio.length,
          .required_end = std::min(dio.offset, std::max(dio.size_at_entry, dio.range.below_end)),
          .extending = dio.range.extending,
          .converts = dio.unwritten || dio.new_extent,
          .bios = chain.first};
}

IoResult DioEngine::begin_data(Dio& dio, const BioChain& chain) noexcept {
  const IoResult begun = dio.request.dio_ops->begin_data(*dio.kiocb, start_of(dio, chain));
  dio.data_begun = begun.ok();
  return begun;
}

void DioEngine::retry(Kiocb& kiocb) noexcept {
  go_on(*static_cast<Dio*>(kiocb.private_));
}

FuaChoice DioEngine::choose_fua(const Dio& dio, const Iomap& iomap) noexcept {
  // The most frequent case, without asking the device and the file.
  if (!dio.kiocb->is_dsync()) return FuaChoice::none;
  const Geometry& geometry = dio.request.device->geometry();
  return fua_policy(FuaFacts{
      .dsync = true,
      .sync = has(dio.kiocb->ki_flags, KiocbFlags::sync),
      .mapped = iomap.type == IomapType::mapped && !iomap.new_extent && !iomap.shared,
      .dirty = iomap.dirty,
      .volatile_cache = geometry.volatile_cache,
      .fua = geometry.fua,
      .extending = dio.offset + dio.length > dio.request.dio_ops->size_bytes(),
  });
}

IoResult DioEngine::map_and_build(Dio& dio, BioChain& chain) noexcept {
  std::uint32_t remaining = dio.length;
  if (!dio.write) {
    // Reads end at the file's size as it is now that the range was granted, rounded up to what the
    // device can transfer; settle() cuts the count to the byte.
    const std::uint64_t size = dio.request.dio_ops->size_bytes();
    const std::uint64_t readable = size > dio.offset ? size - dio.offset : 0;
    if (readable < remaining) {
      dio.length_valid = static_cast<std::uint32_t>(readable);
      remaining = static_cast<std::uint32_t>(
          round_up(readable, dio.request.device->geometry().logical_block_bytes));
    }
  }
  const bool nowait = has(dio.kiocb->ki_flags, KiocbFlags::nowait);
  SegmentCursor cursor(dio.iov);
  std::uint64_t offset = dio.offset;
  while (remaining != 0) {
    Iomap iomap;
    const IoResult mapped = dio.request.iomap_ops->iomap_begin(
        *dio.kiocb, IomapRequest{offset, remaining, dio.write, nowait}, &iomap);
    if (!mapped.ok()) return mapped;
    HB_ASSERT(iomap.offset <= offset && offset - iomap.offset < iomap.length,
              "iomap_begin answers with a mapping that contains the offset asked for");
    const auto length = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(remaining, iomap.offset + iomap.length - offset));
    if (!dio.write && iomap.type != IomapType::mapped) {
      planted(PlantedBug::hole_read_leaves_memory) ? cursor.skip(length) : cursor.zero(length);
    } else {
      HB_ASSERT(iomap.type != IomapType::hole,
                "iomap_begin answers a write with blocks, not with a hole");
      bool fua = false;
      if (dio.write) {
        const FuaChoice choice = choose_fua(dio, iomap);
        fua = choice == FuaChoice::fua;
        dio.needs_sync |= choice == FuaChoice::sync_after;
        dio.unwritten |= iomap.type == IomapType::unwritten;
        dio.new_extent |= iomap.new_extent;
        dio.shared |= iomap.shared;
      }
      const IoResult built = build_mapping(dio, iomap, offset, length, cursor, chain, fua);
      if (!built.ok()) return built;
    }
    offset += length;
    remaining -= length;
  }
  return {};
}

// Bios for [offset, offset + length) of one mapping, split at the device's limits; with zeros
// before and after where the request covers only part of a block that holds nothing valid yet.
IoResult DioEngine::build_mapping(Dio& dio, const Iomap& iomap, std::uint64_t offset,
                                  std::uint32_t length, SegmentCursor& cursor, BioChain& chain,
                                  bool fua) noexcept {
  const std::uint32_t fs_block = dio.request.iomap_ops->fs_block_bytes();
  const bool zero_around = dio.write && (iomap.type == IomapType::unwritten || iomap.new_extent);
  // Only the request's own ends can be inside a block: mappings begin and end with blocks.
  std::uint64_t head = 0;
  std::uint64_t tail = 0;
  if (zero_around) {
    head = offset - round_down(offset, fs_block);
    if (planted(PlantedBug::zeroing_head_short))
      head -= std::min<std::uint64_t>(head, dio.request.device->geometry().logical_block_bytes);
    tail = round_up(offset + length, fs_block) - (offset + length);
    if (planted(PlantedBug::zeroing_tail_short))
      tail -= std::min<std::uint64_t>(tail, dio.request.device->geometry().logical_block_bytes);
  }
  std::uint64_t addr = iomap.addr + (offset - iomap.offset) - head;
  std::uint64_t data = length;
  const std::uint32_t transfer_max = dio.request.device->geometry().transfer_bytes_max;
  auto at = static_cast<std::uint32_t>(offset - dio.offset);
  if (head + tail == 0 && length <= transfer_max && cursor.left_in_segment() >= length) [[likely]] {
    // One piece of memory, one bio.
    DioBio* bio = new_bio(dio);
    if (bio == nullptr) return IoResult::host_failure(ENOMEM);
    prepare_bio(dio, *bio, addr, at, fua);
    const iovec piece = cursor.take(length);
    bio->add_segment(piece.iov_base, piece.iov_len);
    add_to_chain(chain, *bio);
    return {};
  }
  while (head + data + tail != 0) {
    DioBio* bio = new_bio(dio);
    if (bio == nullptr) return IoResult::host_failure(ENOMEM);
    prepare_bio(dio, *bio, addr, at, fua);
    while (bio->segment_count < bio_segments_max && bio->length < transfer_max) {
      const std::uint64_t room = transfer_max - bio->length;
      if (head != 0) {
        const std::uint64_t zeros = std::min({head, room, std::uint64_t{zero_block_bytes}});
        bio->add_segment(zero_block, zeros);
        head -= zeros;
      } else if (data != 0) {
        const iovec piece = cursor.take(std::min(data, room));
        bio->add_segment(piece.iov_base, piece.iov_len);
        data -= piece.iov_len;
        at += static_cast<std::uint32_t>(piece.iov_len);
      } else if (tail != 0) {
        const std::uint64_t zeros = std::min({tail, room, std::uint64_t{zero_block_bytes}});
        bio->add_segment(zero_block, zeros);
        tail -= zeros;
      } else {
        break;
      }
    }
    addr += bio->length;
    add_to_chain(chain, *bio);
  }
  return {};
}

void DioEngine::prepare_bio(Dio& dio, DioBio& bio, std::uint64_t addr, std::uint32_t at,
                            bool fua) noexcept {
  bio.op = dio.write ? BioOp::write : BioOp::read;
  bio.fua = fua;
  bio.ioprio = dio.kiocb->ki_ioprio;
  bio.addr = addr;
  bio.at = at;
  bio.end_io = &DioEngine::bio_end;
  bio.private_ = &dio;
}

void DioEngine::add_to_chain(BioChain& chain, Bio& bio) noexcept {
  (chain.last != nullptr ? chain.last->next : chain.first) = &bio;
  chain.last = &bio;
  ++chain.count;
}

// --- completion ---

void DioEngine::fail(Dio& dio, IoResult error, std::uint32_t at) noexcept {
  dio.first_error.record(error, at);
}

void DioEngine::bio_end(Bio& bio) noexcept {
  Dio& dio = *static_cast<Dio*>(bio.private_);
  if (!bio.result.ok()) [[unlikely]] {
    fail(dio, bio.result, static_cast<DioBio&>(bio).at);
  }
  free_bio(dio, bio);
  if (dio.references.drop()) drop_last_reference(dio);
}

// The one exit of an asynchronous request whose last bio ended after submission returned.
void DioEngine::drop_last_reference(Dio& dio) noexcept {
  Kiocb& kiocb = *dio.kiocb;
  if (kiocb.is_sync()) {
    // Route `waiter`: the caller, which is on its own issuer, settles with its own locks.
    wake_waiter(dio);
    return;
  }
  const RouteDecision decision = route_completion(CompletionFacts{
      .sync_caller = false,
      .write = dio.write,
      .failed = dio.first_error.any(),
      .extending = dio.write && (dio.range.extending ||
                                 dio.request.dio_ops->is_extending(dio.offset + dio.length)),
      .unwritten = dio.unwritten,
      .new_extent = dio.new_extent,
      .shared = dio.shared,
      .needs_sync = dio.needs_sync,
      .cached_pages = dio.request.hold != nullptr && dio.write &&
                      dio.request.dio_ops->has_cached_pages(dio.offset, dio.length),
      .handler_pure = dio.request.dio_ops->contract().pure,
      .handler_task = dio.request.dio_ops->contract().task,
      .in_task = dio.issuer->settles_in_task(),
      .defer = has(kiocb.ki_flags, KiocbFlags::dio_defer),
      .issuer_gone = false,
  });
  kiocb.route = decision.route;
  kiocb.route_reason = decision.reason;
  if (decision.reason == RouteReason::error && behaves_as_before(OldBehaviour::error_inline))
      [[unlikely]] {
    kiocb.route = Route::inline_;
  }
  switch (kiocb.route) {
    case Route::inline_: {
      // Nothing needs a task: settle here, in device context.
      const Outcome outcome = settle(dio);
      HB_ASSERT(outcome.is_final(), "a request that is settled inline needs no continuation");
      kiocb.ki_complete(kiocb, outcome);
      return;
    }
    case Route::issuer:
      // Handed back: the issuer calls settle_handed_back from its own context, after its reap loop.
      kiocb.set_dio_complete(&DioEngine::settle_handed_back);
      kiocb.ki_complete(kiocb, NotFinal{});
      return;
    case Route::worker:
      to_worker(dio, Dio::ResumeAs::settle);
      return;
    case Route::none:
    case Route::submit:
    case Route::waiter:
      break;
  }
  HB_ASSERT(false, "a completion that comes after submission has one of three routes");
}

// For what may wait, or cannot be handed back.
void DioEngine::to_worker(Dio& dio, Dio::ResumeAs as) noexcept {
  dio.resume_as = as;
  dio.issuer->workers()->impl().add(dio.resume);
}

void DioEngine::wake_waiter(Dio& dio) noexcept {
  dio.issuer->notify(dio.resume);
}

Outcome DioEngine::settle_handed_back(Kiocb& kiocb) noexcept {
  Dio& dio = *static_cast<Dio*>(kiocb.private_);
  kiocb.set_dio_complete(nullptr);
  return settle(dio);
}

IoResult DioEngine::result_of(const Dio& dio) noexcept {
  if (!dio.first_error.any()) return IoResult::success(dio.length_valid);
  // A failed write that had to allocate or convert leaves its range unwritten, so no byte of it
  // counts.
  const bool converts = (dio.unwritten || dio.new_extent || dio.shared) &&
                        !planted(PlantedBug::prefix_of_failed_conversion_counts);
  const std::uint32_t prefix = converts ? 0 : std::min(dio.first_error.at(), dio.length_valid);
  return dio.first_error.error().with_bytes(prefix);
}

// Settles what the bios left: clears what was read beyond the end, then the file's part, stage by
// stage.
Outcome DioEngine::settle(Dio& dio) noexcept {
  // Before anything of it is published, what it stands behind is.
  const bool sync = dio.kiocb->is_sync();
  if (dio.token != 0 && !dio.data_ended_told) {
    dio.data_ended_told = true;
    dio.request.dio_ops->data_ended(*dio.kiocb, dio.token, !dio.first_error.any());
  }
  if (dio.range.extending && dio.request.inflight != nullptr &&
      !dio.request.inflight->impl_->may_publish(dio.range, [](RangeEntry& entry) noexcept {
        // They may be those of an issuer that is elsewhere.
        static_cast<Dio*>(entry.owner)->issuer->set_needs_others();
      })) {
    // An asynchronous one may be settled elsewhere and gone by now.
    if (!sync) return NotFinal{};
    dio.issuer->wait_until_helped([&] { return dio.ended; });
    dio.ended = false;
  }
  const IoResult result = result_of(dio);
  if (!dio.write && result.ok() && dio.length_valid < dio.length) {
    // What the device transferred beyond the file's end is nobody's business.
    const std::uint64_t transferred =
        round_up(dio.length_valid, dio.request.device->geometry().logical_block_bytes);
    SegmentCursor cursor(dio.iov);
    cursor.skip(dio.length_valid);
    if (!planted(PlantedBug::read_shows_what_lies_beyond_the_end))
      cursor.zero(transferred - dio.length_valid);
  }
  dio.stage = Dio::Stage::end_io;
  return advance(dio, run_stage(dio, result));
}

// One call into the file. NotFinal only if a continuation will call end_pending() and that has not
// happened yet; the Dio may then be gone already.
Outcome DioEngine::run_stage(Dio& dio, IoResult result) noexcept {
  Kiocb& kiocb = *dio.kiocb;
  const bool sync = kiocb.is_sync();
  dio.handoff.begin();
  const DioEnd end{.offset = dio.offset,
                   .bytes = dio.length,
                   .result = result,
                   .unwritten = dio.unwritten || dio.new_extent,
                   .needs_sync = dio.needs_sync,
                   .token = dio.token,
                   .behind_gap = dio.range.behind_gap,
                   .data_begun = dio.data_begun,
                   .iov = dio.iov,
                   .hold = dio.request.hold};
  const Outcome outcome = [&] {
    const DioHandlerScope handler(dio);
    return dio.stage == Dio::Stage::end_io ? dio.request.dio_ops->end_io(kiocb, end)
                                           : dio.request.dio_ops->write_sync(kiocb, end);
  }();
  if (outcome.is_final()) return outcome;
  if (sync) {
    dio.issuer->wait_until_helped([&] { return dio.ended; });
    dio.ended = false;
    return dio.pending_result;
  }
  // The continuation may have ended on another thread before the file returned: whoever comes
  // second goes on.
  if (dio.handoff.returned_second()) return dio.pending_result;
  return NotFinal{};
}

// Goes on after a stage that said `outcome`.
Outcome DioEngine::advance(Dio& dio, Outcome outcome) noexcept {
  if (outcome.is_final() && dio.stage == Dio::Stage::end_io) {
    // Settled: drains need not wait for the sync that may follow.
    if (dio.request.inflight != nullptr &&
        (outcome.result().ok() || !planted(PlantedBug::range_kept_after_failure)))
      dio.request.inflight->impl_->leave(dio.range, !outcome.result().ok());
    if (outcome.result().ok() && dio.needs_sync && !planted(PlantedBug::sync_forgotten)) {
      dio.stage = Dio::Stage::sync;
      outcome = run_stage(dio, outcome.result());
    }
  }
  if (!outcome.is_final()) return outcome;
  trace_complete(*dio.kiocb, dio.offset, dio.length, outcome.result());
  dio.kiocb->private_ = nullptr;
  free_dio(dio);
  return outcome;
}

void DioEngine::end_pending(Kiocb& kiocb, IoResult result) noexcept {
  Dio& dio = *static_cast<Dio*>(kiocb.private_);
  dio.pending_result = result;
  if (kiocb.is_sync()) {
    dio.issuer->notify(dio.resume);
    return;
  }
  const bool here = Issuer::Impl::has_executor(*dio.issuer);
  const bool finishes = dio.stage == Dio::Stage::sync;
  Issuer::Impl& issuer = *dio.issuer;
  if (!dio.handoff.ended_second()) return;
  if (!finishes && dio.needs_sync && !may_run_handler_here(dio)) {
    to_worker(dio, Dio::ResumeAs::advance);
    return;
  }
  if (!here && !finishes) {
    // What follows may submit, and that needs an issuer.
    dio.resume_as = Dio::ResumeAs::advance;
    issuer.post(dio.resume);
    return;
  }
  const Outcome outcome = advance(dio, result);
  if (outcome.is_final()) kiocb.ki_complete(kiocb, outcome);
}

// --- entry points ---

Outcome dio_rw(Kiocb& kiocb, IovView iov, const DioRequest& request) noexcept {
  HB_ASSERT(kiocb.issuer != nullptr, "a request names the issuer whose queues it uses");
  const ShieldScope shield;
  if (!request.checked) {
    const IoResult checked = dio_check(kiocb, iov, request.device->geometry());
    if (!checked.ok()) return checked;
  }
  const auto length = static_cast<std::uint32_t>(iov.length());
  if (length == 0) return IoResult::success(0);
  trace_rw_begin(kiocb, request, length);
  // Here, in task context, where threads can be started.
  const bool may_need_worker = !kiocb.is_sync() && (!has(kiocb.ki_flags, KiocbFlags::dio_defer) ||
                                                    handler_waits(*request.dio_ops));
  if (may_need_worker && kiocb.issuer->impl().workers() == nullptr)
    return DioEngine::refuse(kiocb, request, length, IoResult::host_failure(EAGAIN));
  return DioEngine::begin(kiocb, iov, request, length);
}

Outcome IomapOps::make_way(Kiocb& /*kiocb*/, IoResult refused) noexcept {
  return refused;
}

void DioOps::data_ended(Kiocb& /*kiocb*/, std::uint64_t /*token*/, bool /*ok*/) noexcept {}

IoResult DioOps::begin_data(Kiocb& /*kiocb*/, const DioStart& /*start*/) noexcept {
  return {};
}

std::uint64_t DioOps::write_start(Kiocb& /*kiocb*/, const DioStart& /*start*/) noexcept {
  return 0;
}

void dio_retry(Kiocb& kiocb) noexcept {
  const ShieldScope shield;
  DioEngine::retry(kiocb);
}

void dio_end_pending(Kiocb& kiocb, IoResult result) noexcept {
  const ShieldScope shield;
  DioEngine::end_pending(kiocb, result);
}

}  // namespace handback
