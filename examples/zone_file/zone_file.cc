// Requests to a zone: the reservation, the prefix, the recovery. What is done to its header is in
// zone_header_io.cc.
//
// Why no drain can hang on this file. A drain (reset, finish) holds the zone's range and waits for
// the requests in it to be settled. Settling takes the mutex, whose rank comes after the range's:
// the drainer does not hold it while it waits. A failed write is settled when the recovery has
// ended; that is a bio and a step of handed-back work, which the drainer itself runs if the thread
// it belongs to is elsewhere (adoption). A recovery may stand behind a header write of others; that
// one is bios and handed-back steps too, and enters no range. A DSYNC write waits for the writes
// before it only in write_sync, when it has left its range: a write that stands in line behind the
// drain is never what the drain waits for.
#include "zone_file/zone_file.h"

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <new>

namespace examples {

using namespace handback;

const HandlerContract& ZoneFile::usual_contract() noexcept {
  // A read that succeeded touches nothing, so it may be settled where its bio ended. Every write
  // ends behind the size, and so is no pure overwrite: it is settled where the mutex may be taken.
  // If that were not so, the mutex itself would say it.
  static constexpr HandlerContract contract{
      .name = "zone file",
      .pure = Acts::none,
      .task = Acts::lock | Acts::submit | Acts::allocate,
  };
  return contract;
}

ZoneFile::ZoneFile(BlockDevice& device, const ZoneRange& range, const ZoneHeader& header,
                   const HandlerContract& contract)
    : DioOps(contract),
      device_(device),
      range_(range),
      block_bytes_(device.geometry().logical_block_bytes),
      capacity_(range.zone_bytes - block_bytes_),
      size_(header.write_pointer),
      state_(header.finished ? ZoneState::finished : ZoneState::open),
      generation_(header.generation),
      reserved_(header.write_pointer),
      durable_(header.write_pointer),
      header_written_(header) {}

DioRequest ZoneFile::request() noexcept {
  return {.device = &device_, .iomap_ops = this, .dio_ops = this, .inflight = &inflight_};
}

// --- submission ---

Outcome ZoneFile::read_iter(Kiocb& kiocb, IovView to) noexcept {
  if (kiocb.is_write()) return IoResult::failure(Errc::invalid, IoDetail::flag_direction);
  return dio_rw(kiocb, to, request());
}

Outcome ZoneFile::write_iter(Kiocb& kiocb, IovView from) noexcept {
  if (!kiocb.is_write()) return IoResult::failure(Errc::invalid, IoDetail::flag_direction);
  if (device_.geometry().read_only) return IoResult::failure(Errc::read_only);
  // A reservation is given back by end_io alone, so what end_io will not see is refused before.
  const IoResult checked = dio_check(kiocb, from, device_.geometry());
  if (!checked.ok()) return checked;
  if (has(kiocb.ki_flags, KiocbFlags::nowait)) {
    // One that is refused half-way would have made a hole.
    return IoResult::failure(Errc::not_supported, IoDetail::flag_nowait);
  }
  const std::uint64_t length = from.length();
  if (length == 0) return IoResult::success(0);
  {
    const std::lock_guard guard(mutex_);
    const IoResult reserved = reserve(kiocb, length);
    if (!reserved.ok()) return reserved;
  }
  return dio_rw(kiocb, from, request());
}

IoResult ZoneFile::reserve(Kiocb& kiocb, std::uint64_t length) try {
  if (state_ == ZoneState::read_only) return IoResult::failure(Errc::read_only);
  if (closing_ || suspect_) return IoResult::failure(Errc::busy);
  if (state_ == ZoneState::finished) return IoResult::failure(Errc::no_space);
  if (has(kiocb.ki_flags, KiocbFlags::append)) {
    kiocb.ki_pos = reserved_;
  } else if (kiocb.ki_pos != reserved_) {
    return IoResult::failure(Errc::invalid, IoDetail::offset_not_next);
  }
  if (length > capacity_ - reserved_) return IoResult::failure(Errc::no_space);
  writes_.push_back({.offset = reserved_, .end = reserved_ + length});
  reserved_ += length;
  ++in_flight_;
  return {};
} catch (const std::bad_alloc&) {
  return IoResult::host_failure(ENOMEM);
}

IoResult ZoneFile::iomap_begin(Kiocb& /*kiocb*/, const IomapRequest& asked, Iomap* iomap) noexcept {
  if (asked.offset >= capacity_ || asked.length > capacity_ - asked.offset)
    return IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
  // What is written counts from the moment when it is part of the prefix, so a failed write has
  // changed no byte of the file.
  *iomap = {.offset = 0,
            .length = capacity_,
            .addr = range_.addr + block_bytes_,
            .type = asked.write ? IomapType::unwritten : IomapType::mapped};
  return {};
}

// --- settling ---

Outcome ZoneFile::end_io(Kiocb& kiocb, const DioEnd& end) noexcept {
  if (!kiocb.is_write()) {
    if (!end.result.ok()) {
      const std::lock_guard guard(mutex_);
      ++read_errors_;
    }
    return end.result;
  }
  Issuer& issuer = *kiocb.issuer;
  Outcome outcome{NotFinal{}};
  EndedList ended;
  {
    const std::lock_guard guard(mutex_);
    const IoResult result = settle_write(end);
    outcome = result;
    if (result.ok() && end.needs_sync) {
      Sync& sync = syncs_.emplace_back();
      sync.kiocb = &kiocb;
      sync.end = end.offset + end.bytes;
      if (state_ == ZoneState::read_only) sync.verdict = error_;
    }
    if (suspect_ && in_flight_ == 0) {
      // The last one in flight. Only now may the place behind the prefix be written again.
      if (end.started && state_ != ZoneState::read_only) {
        recovery_ = {&kiocb, result};
        outcome = NotFinal{};
      } else {
        become_read_only(error_, ended);
        forget_lost(ended);
      }
    }
  }
  use_header(issuer);
  end_all(ended);
  return outcome;
}

// Takes the write out of flight and publishes what is now the prefix. Its result.
IoResult ZoneFile::settle_write(const DioEnd& end) {
  const auto write =
      std::lower_bound(writes_.begin(), writes_.end(), end.offset,
                       [](const Write& a, std::uint64_t offset) { return a.offset < offset; });
  --in_flight_;
  if (!end.result.ok()) {
    if (!suspect_) {
      suspect_ = true;
      lost_from_ = end.offset;
      error_ = end.result.with_bytes(0);
    }
    lost_from_ = std::min(lost_from_, end.offset);
    write->fate = Fate::lost;
    return end.result.with_bytes(0);
  }
  if (suspect_ && end.offset > lost_from_) {
    // Its bytes are on the device, behind a gap that is no part of any file.
    write->fate = Fate::lost;
    return error_;
  }
  write->fate = Fate::written;
  while (!writes_.empty() && writes_.front().fate == Fate::written) {
    size_.store(writes_.front().end, std::memory_order_release);
    writes_.pop_front();
  }
  return end.result;
}

// Nothing is in flight, and what is not in the prefix never will be.
void ZoneFile::forget_lost(EndedList& ended) {
  suspect_ = false;
  writes_.clear();
  reserved_ = size_bytes();
  end_syncs(ended, reserved_, error_);
}

void ZoneFile::become_read_only(IoResult error, EndedList& ended) {
  state_ = ZoneState::read_only;
  error_ = error;
  end_syncs(ended, durable_, error);
}

// Syncs of what lies behind `offset` end with `error`.
void ZoneFile::end_syncs(EndedList& ended, std::uint64_t offset, IoResult error) {
  std::erase_if(syncs_, [&](Sync& sync) {
    if (sync.end <= offset) return false;
    if (sync.waiting)
      ended.push_back({sync.kiocb, error});
    else
      sync.verdict = error;
    return sync.waiting;
  });
}

Outcome ZoneFile::write_sync(Kiocb& kiocb, const DioEnd& end) noexcept {
  Issuer& issuer = *kiocb.issuer;
  {
    const std::lock_guard guard(mutex_);
    const auto sync = std::find_if(syncs_.begin(), syncs_.end(),
                                   [&](const Sync& each) { return each.kiocb == &kiocb; });
    if (sync->verdict || sync->end <= durable_) {
      const IoResult verdict = sync->verdict.value_or(end.result);
      syncs_.erase(sync);
      return verdict;
    }
    sync->waiting = true;
    sync->result = end.result;
  }
  use_header(issuer);
  return NotFinal{};
}

ZoneStatus ZoneFile::status() const {
  const std::lock_guard guard(mutex_);
  ZoneState state = state_;
  if (closing_) state = ZoneState::closing;
  if (suspect_) state = ZoneState::suspect;
  return {.state = state,
          .size_bytes = size_bytes(),
          .write_pointer = state_ == ZoneState::finished ? capacity_ : reserved_,
          .durable_bytes = durable_,
          .capacity_bytes = capacity_,
          .error = error_,
          .recoveries = recoveries_,
          .read_errors = read_errors_};
}

}  // namespace examples
