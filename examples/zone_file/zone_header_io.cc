// What is done to a zone's header, one thing at a time: commits for DSYNC writes and the recovery
// as continuations, which never wait; create, open, sync, reset and finish as calls that do.
#include <handback/bio_group.h>
#include <algorithm>
#include <mutex>
#include <thread>

#include "zone_file/zone_file.h"

namespace examples {

using namespace handback;

ZoneHeader ZoneFile::header_now() const {
  return {.generation = generation_,
          .zone_bytes = range_.zone_bytes,
          .write_pointer = size_bytes(),
          .finished = state_ == ZoneState::finished};
}

// A new one if a device that missed its deadline may still use the last one.
std::span<std::byte> ZoneFile::header_block() {
  if (header_block_.size() == 0) header_block_ = AlignedBuffer(block_bytes_);
  return header_block_.span().first(block_bytes_);
}

// --- continuations ---

// Takes what the header is needed for next, if anything and if it is free.
ZoneFile::HeaderUse ZoneFile::take_next_use() {
  if (header_use_ != HeaderUse::none) return HeaderUse::none;
  if (recovery_.kiocb != nullptr) {
    header_use_ = HeaderUse::reading;
  } else if (waiting_sync(size_bytes()) != nullptr) {
    header_use_ = device_.geometry().volatile_cache ? HeaderUse::flushing : HeaderUse::writing;
    // As of now: what is published from here on may miss the flush.
    header_new_ = header_now();
  }
  return header_use_;
}

// A request that waits for a sync up to `offset` or less: as long as it does, its issuer is there.
Kiocb* ZoneFile::waiting_sync(std::uint64_t offset) const {
  for (const Sync& sync : syncs_) {
    if (sync.waiting && sync.end <= offset) return sync.kiocb;
  }
  return nullptr;
}

void ZoneFile::use_header(Issuer& issuer) noexcept {
  HeaderUse use = HeaderUse::none;
  {
    const std::lock_guard guard(mutex_);
    use = take_next_use();
  }
  if (use != HeaderUse::none) start_header_io(issuer, use);
}

void ZoneFile::start_header_io(Issuer& issuer, HeaderUse use) noexcept {
  BioGroup& io = header_io_.emplace(issuer, device_);
  const std::span<std::byte> block = header_block();
  switch (use) {
    case HeaderUse::flushing:
    case HeaderUse::flushing_header:
      io.flush();
      break;
    case HeaderUse::writing:
      encode_zone_header(header_new_, block);
      io.write(range_.addr, block, writes_through());
      break;
    case HeaderUse::reading:
      io.read(range_.addr, block);
      break;
    case HeaderUse::none:
    case HeaderUse::by_caller:
      break;
  }
  io.start(
      [](BioGroup& group, void* zone) noexcept {
        auto& file = *static_cast<ZoneFile*>(zone);
        group.keep_if_unanswered(file.header_block_);
        file.header_io_ended(group.result());
      },
      this);
}

// Issuer context, on the issuer that carried it out or on a thread that adopts it.
void ZoneFile::header_io_ended(IoResult result) noexcept {
  EndedList ended;
  Issuer* issuer = nullptr;
  HeaderUse next = HeaderUse::none;
  {
    const std::lock_guard guard(mutex_);
    next = header_step_ended(result, ended);
    header_use_ = next;
    if (next == HeaderUse::none) next = take_next_use();
    // Of somebody whose request hangs on the next step, so that it is still there.
    if (next == HeaderUse::reading)
      issuer = recovery_.kiocb->issuer;
    else if (next != HeaderUse::none)
      issuer = waiting_sync(header_new_.write_pointer)->issuer;
  }
  if (next != HeaderUse::none) start_header_io(*issuer, next);
  end_all(ended);
}

// The next step of the same use; none after the last.
ZoneFile::HeaderUse ZoneFile::header_step_ended(IoResult result, EndedList& ended) {
  if (header_use_ == HeaderUse::reading) {
    recovered(result, ended);
    return HeaderUse::none;
  }
  if (!result.ok()) {
    // What of the data or of the header is on the device is unknown, and asking again tells less.
    become_read_only(result, ended);
    return HeaderUse::none;
  }
  // Nobody waits any more if the zone has become read-only meanwhile.
  if (waiting_sync(header_new_.write_pointer) == nullptr) return HeaderUse::none;
  if (header_use_ == HeaderUse::flushing) return HeaderUse::writing;
  if (header_use_ == HeaderUse::writing && !writes_through()) return HeaderUse::flushing_header;
  header_is_durable(ended);
  return HeaderUse::none;
}

void ZoneFile::header_is_durable(EndedList& ended) {
  header_written_ = header_new_;
  durable_ = header_new_.write_pointer;
  std::erase_if(syncs_, [&](const Sync& sync) {
    const bool ends = sync.waiting && sync.end <= durable_;
    if (ends) ended.push_back({sync.kiocb, sync.result});
    return ends;
  });
}

void ZoneFile::recovered(IoResult result, EndedList& ended) {
  ++recoveries_;
  if (!result.ok()) {
    become_read_only(result, ended);
  } else if (decode_zone_header(header_block()) != header_written_) {
    become_read_only(IoResult::failure(Errc::damaged), ended);
  }
  forget_lost(ended);
  ended.push_back(recovery_);
  recovery_ = {};
}

// Each may be gone as soon as it was told.
void ZoneFile::end_all(const EndedList& ended) noexcept {
  for (const Ended& each : ended)
    dio_end_pending(*each.kiocb, each.result);
}

// --- blocking calls ---

bool ZoneFile::writes_through() const noexcept {
  return device_.geometry().fua || !device_.geometry().volatile_cache;
}

IoResult ZoneFile::write_header_and_wait(Issuer& issuer, bool flush_first) {
  const bool cached = device_.geometry().volatile_cache;
  const std::span<std::byte> block = header_block();
  encode_zone_header(header_new_, block);
  if (flush_first && cached) {
    BioGroup flush(issuer, device_);
    flush.flush();
    if (const IoResult flushed = flush.run_and_wait(); !flushed.ok()) return flushed;
  }
  BioGroup write(issuer, device_);
  write.write(range_.addr, block, writes_through());
  const IoResult written = write.run_and_wait();
  write.keep_if_unanswered(header_block_);
  if (!written.ok() || writes_through()) return written;
  BioGroup flush(issuer, device_);
  flush.flush();
  return flush.run_and_wait();
}

// Waits until the header is free; if `quiet`, also until nobody waits for it.
void ZoneFile::take_header(Issuer& issuer, bool quiet) {
  bool taken = false;
  issuer.settle_until([&]() noexcept {
    if (taken) return true;
    const std::lock_guard guard(mutex_);
    if (header_use_ != HeaderUse::none) return false;
    // A write that was canceled in line has a recovery, and was never in the range.
    if (quiet && (!syncs_.empty() || recovery_.kiocb != nullptr)) return false;
    header_use_ = HeaderUse::by_caller;
    taken = true;
    return true;
  });
}

IoResult ZoneFile::sync(Issuer& issuer) {
  take_header(issuer, false);
  IoResult result;
  bool write = false;
  {
    const std::lock_guard guard(mutex_);
    header_new_ = header_now();
    write = state_ != ZoneState::read_only && header_new_ != header_written_;
    if (state_ == ZoneState::read_only) result = IoResult::failure(Errc::read_only);
  }
  if (write) result = write_header_and_wait(issuer, true);
  EndedList ended;
  {
    const std::lock_guard guard(mutex_);
    if (write && result.ok()) header_is_durable(ended);
    if (write && !result.ok()) become_read_only(result, ended);
    header_use_ = HeaderUse::none;
  }
  use_header(issuer);
  end_all(ended);
  return result;
}

IoResult ZoneFile::reset(Issuer& issuer) {
  return close_zone(issuer, true);
}

IoResult ZoneFile::finish(Issuer& issuer) {
  return close_zone(issuer, false);
}

IoResult ZoneFile::close_zone(Issuer& issuer, bool empty_it) {
  {
    const std::lock_guard guard(mutex_);
    if (closing_) return IoResult::failure(Errc::busy);
    if (!empty_it && state_ == ZoneState::read_only) return IoResult::failure(Errc::read_only);
    if (!empty_it && state_ == ZoneState::finished) return {};
    closing_ = true;
  }
  for (;;) {
    {
      const DioInflight::Drain drain(inflight_, issuer, 0, capacity_);
      const bool alone = [&] {
        const std::lock_guard guard(mutex_);
        return in_flight_ == 0;
      }();
      if (alone) return close_drained(issuer, empty_it);
    }
    // Another thread has its place and not yet its range, or stands in line behind this drain. No
    // further one can come.
    std::this_thread::yield();
  }
}

// With the range of the whole zone, and none of its writes left.
IoResult ZoneFile::close_drained(Issuer& issuer, bool empty_it) {
  take_header(issuer, true);
  {
    const std::lock_guard guard(mutex_);
    header_new_ = header_now();
    header_new_.finished = !empty_it;
    if (empty_it) {
      ++header_new_.generation;
      header_new_.write_pointer = 0;
    }
  }
  const IoResult result = write_header_and_wait(issuer, !empty_it);
  EndedList ended;
  {
    const std::lock_guard guard(mutex_);
    closing_ = false;
    header_use_ = HeaderUse::none;
    if (result.ok()) {
      header_written_ = header_new_;
      generation_ = header_new_.generation;
      durable_ = reserved_ = header_new_.write_pointer;
      size_.store(reserved_, std::memory_order_release);
      state_ = empty_it ? ZoneState::open : ZoneState::finished;
      error_ = {};
    } else {
      become_read_only(result, ended);
    }
  }
  end_all(ended);
  return result;
}

// --- on the device ---

namespace {

Result<void> check_range(const BlockDevice& device, const ZoneRange& range) {
  const Geometry& geometry = device.geometry();
  const std::uint64_t block = geometry.logical_block_bytes;
  if (range.addr % block != 0 || range.zone_bytes % block != 0 || range.zone_bytes < 2 * block) {
    return fail(Errc::invalid, device.name() + ": a zone is at least two logical blocks of " +
                                   std::to_string(block) + " bytes, aligned to them");
  }
  if (range.addr > geometry.size_bytes || range.zone_bytes > geometry.size_bytes - range.addr) {
    return fail(Errc::invalid, device.name() + ": the zone at byte " + std::to_string(range.addr) +
                                   " ends behind the device; give a shorter one");
  }
  return {};
}

std::string name_of(const BlockDevice& device, const ZoneRange& range) {
  return device.name() + ", zone at byte " + std::to_string(range.addr);
}

}  // namespace

Result<std::unique_ptr<ZoneFile>> ZoneFile::create(Issuer& issuer, BlockDevice& device,
                                                   const ZoneRange& range) {
  if (auto good = check_range(device, range); !good) return tl::unexpected(good.error());
  if (device.geometry().read_only)
    return fail(Errc::read_only, name_of(device, range) + ": the device is read-only");
  std::unique_ptr<ZoneFile> zone(new ZoneFile(
      device, range, {.generation = 0, .zone_bytes = range.zone_bytes}, usual_contract()));
  if (const IoResult written = zone->reset(issuer); !written.ok())
    return fail(written.code(),
                name_of(device, range) + ": the header was not written: " + describe(written));
  return zone;
}

Result<std::unique_ptr<ZoneFile>> ZoneFile::open(Issuer& issuer, BlockDevice& device,
                                                 const ZoneRange& range) {
  if (auto good = check_range(device, range); !good) return tl::unexpected(good.error());
  const std::size_t block = device.geometry().logical_block_bytes;
  AlignedBuffer buffer(block);
  BioGroup read(issuer, device);
  read.read(range.addr, buffer.span().first(block));
  const IoResult result = read.run_and_wait();
  read.keep_if_unanswered(buffer);
  if (!result.ok())
    return fail(result.code(),
                name_of(device, range) + ": the header cannot be read: " + describe(result));
  const auto header = decode_zone_header(buffer.span().first(block));
  if (!header || header->zone_bytes != range.zone_bytes) {
    return fail(Errc::damaged, name_of(device, range) +
                                   ": its first block is no header of a zone of this length; "
                                   "create the zone, or give the range it was created with");
  }
  return std::unique_ptr<ZoneFile>(new ZoneFile(device, range, *header, usual_contract()));
}

}  // namespace examples
