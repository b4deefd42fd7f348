// Direct I/O on a file that has a page cache: nothing that the cache knows is missed, and nothing
// stale stays in it.
#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "base/align.h"
#include "base/planted_bug.h"
#include "volume/cached_inode.h"

namespace handback {
namespace {

// Lives in a record of the issuer's pool, or on the stack of a synchronous caller, until the write
// has left the range (leave_cache_range).
struct DirectWrite : RangeTask {
  DirectWrite(VolumeFile::Impl& of, CachedInode& beside, Kiocb& request, IovView memory,
              Issuer::Impl& own, Ended then) noexcept
      : RangeTask(own, &DirectWrite::drive, then),
        file(of),
        space(beside.space),
        kiocb(request),
        from(memory) {}

  enum class Stage : std::uint8_t { range, flush, start };
  static Outcome drive(CacheTask& task) noexcept;
  Outcome enter_range() noexcept;
  // `told`: of the first run, whose caller is there to be told the outcome; then nothing of this
  // may be touched.
  Outcome start(Outcome* told) noexcept;
  Outcome give_up(IoResult error, Outcome* told) noexcept;
  void leave(std::uint64_t offset, std::uint64_t end) noexcept;

  VolumeFile::Impl& file;
  AddressSpace& space;
  Kiocb& kiocb;
  IovView from;
  Stage stage = Stage::range;
  Outcome* at_once = nullptr;  // For the first run.
  bool in_pool = false;
  AddressSpace::Flush flush;
};
static_assert(sizeof(DirectWrite) <= dio_record_bytes);

Outcome DirectWrite::drive(CacheTask& task) noexcept {
  auto& self = static_cast<DirectWrite&>(task);
  Outcome* const told = std::exchange(self.at_once, nullptr);
  for (;;) {
    switch (self.stage) {
      case Stage::range: {
        const Outcome entered = self.enter_range();
        if (!entered.is_final()) return entered;
        if (!entered.result().ok()) return self.give_up(entered.result(), told);
        break;
      }
      case Stage::flush: {
        // What lies between the published end and a write that makes the file longer goes first.
        if (self.flush.epoch == 0) {
          const std::uint64_t published = round_down(self.file.size_bytes(), page_bytes);
          self.flush =
              self.space.begin_flush(std::min(self.range.offset, published), self.range.end);
        }
        if (planted(PlantedBug::cache_direct_write_without_flush)) {
          self.stage = Stage::start;
          break;
        }
        if (has(self.kiocb.ki_flags, KiocbFlags::nowait) &&
            self.space.has_unwritten_back(self.flush.offset, self.flush.end)) {
          // Nothing is invalidated: what is on its way to the device may fail, and is nowhere else.
          self.leave_range();
          return self.give_up(IoResult::failure(Errc::would_block), told);
        }
        const Outcome flushed = self.space.flush_step(self.flush, self);
        if (!flushed.is_final()) return flushed;
        if (!flushed.result().ok()) {
          self.leave_range();
          return self.give_up(flushed.result(), told);
        }
        self.stage = Stage::start;
        break;
      }
      case Stage::start:
        return self.start(told);
    }
  }
}

Outcome DirectWrite::enter_range() noexcept {
  const std::uint64_t length = from.length();
  const bool append = has(kiocb.ki_flags, KiocbFlags::append);
  const std::uint64_t published = file.size_bytes();
  const std::uint64_t end = append ? ~std::uint64_t{0} : kiocb.ki_pos + length;
  const bool extends = append || end > published;
  range.offset = round_down(
      extends ? std::min(append ? published : kiocb.ki_pos, published) : kiocb.ki_pos, page_bytes);
  range.end = append ? end : round_up(end, page_bytes);
  range.mode = RangeMode::write;
  stage = Stage::flush;
  return enter(space.ranges, has(kiocb.ki_flags, KiocbFlags::nowait));
}

Outcome DirectWrite::start(Outcome* told) noexcept {
  space.invalidate(range.offset, range.end);
  const bool sync = is_sync();
  Kiocb& request = kiocb;
  VolumeFile::Impl& to = file;
  // From here on the write may settle, and this be gone.
  const Outcome outcome = to.place_and_start(request, from, this);
  if (sync) return outcome;
  if (outcome.is_final()) {
    if (told != nullptr) {
      *told = outcome;
    } else {
      request.ki_complete(request, outcome);
    }
  }
  return NotFinal{};
}

// Nothing was started. Of an asynchronous write the record goes here, as it does when it was.
Outcome DirectWrite::give_up(IoResult error, Outcome* told) noexcept {
  if (is_sync()) return error;
  if (told != nullptr) {
    *told = error;
    Issuer::Impl& own = *issuer;
    this->~DirectWrite();
    own.give_back_dio_record(this);
  } else {
    ended(*this, error);
  }
  return NotFinal{};
}

void DirectWrite::leave(std::uint64_t offset, std::uint64_t end) noexcept {
  if (!planted(PlantedBug::cache_not_invalidated_after))
    space.invalidate(round_down(offset, page_bytes), end);
  leave_range();
}

// What a direct read has to find on the device.
struct NewerThanDevice {
  std::uint64_t offset;
  std::uint64_t end;
};

NewerThanDevice newer_than_device(const VolumeFile::Impl& file, const CachedInode& cached,
                                  std::uint64_t offset, std::uint64_t end) noexcept {
  // The device's requests end at the published end. What reaches beyond it reads a hole there, or
  // nothing at all, as the file's end says that is in the cache only: so that is published first.
  const std::uint64_t published = file.size_bytes();
  if (end <= published || cached.space.size() <= published) return {offset, end};
  return {std::min(offset, round_down(published, page_bytes)), ~std::uint64_t{0}};
}

// Lives until the read has started: on the heap, or on the stack of a synchronous caller.
struct DirectRead : CacheTask {
  DirectRead(VolumeFile::Impl& of, CachedInode& beside, Kiocb& request, IovView memory,
             const NewerThanDevice& newer, Issuer::Impl& own, Ended then) noexcept
      : CacheTask(own, &DirectRead::drive, then),
        file(of),
        space(beside.space),
        kiocb(request),
        to(memory),
        flush(space.begin_flush(newer.offset, newer.end)) {}

  static Outcome drive(CacheTask& task) noexcept {
    auto& self = static_cast<DirectRead&>(task);
    const Outcome flushed = self.space.flush_step(self.flush, self);
    if (!flushed.is_final() || !flushed.result().ok()) return flushed;
    const Outcome outcome = dio_rw(self.kiocb, self.to, self.file.dio_request());
    // On its way, and nobody will come back here.
    if (!outcome.is_final()) delete &self;
    return outcome;
  }

  VolumeFile::Impl& file;
  AddressSpace& space;
  Kiocb& kiocb;
  IovView to;
  AddressSpace::Flush flush;
};
}  // namespace

Outcome write_beside_cache(VolumeFile::Impl& file, CachedInode& cached, Kiocb& kiocb,
                           IovView from) noexcept {
  Issuer::Impl& own = kiocb.issuer->impl();
  if (kiocb.is_sync()) {
    DirectWrite task(file, cached, kiocb, from, own, nullptr);
    return task.run();
  }
  void* record = own.take_dio_record();
  if (record == nullptr) return IoResult::host_failure(ENOMEM);
  Outcome at_once{NotFinal{}};
  auto* task = ::new (record)
      DirectWrite(file, cached, kiocb, from, own, [](CacheTask& ended, IoResult result) noexcept {
        auto& whole = static_cast<DirectWrite&>(ended);
        Kiocb& request = whole.kiocb;
        Issuer::Impl& issuer = *whole.issuer;
        whole.~DirectWrite();
        issuer.give_back_dio_record(&whole);
        request.ki_complete(request, result);
      });
  task->in_pool = true;
  task->at_once = &at_once;
  static_cast<void>(task->run());
  return at_once;
}

void leave_cache_range(void* hold, std::uint64_t offset, std::uint64_t end) noexcept {
  auto& write = *static_cast<DirectWrite*>(hold);
  const bool in_pool = write.in_pool;
  Issuer::Impl& own = *write.issuer;
  write.leave(offset, end);
  if (!in_pool) return;
  write.~DirectWrite();
  own.give_back_dio_record(&write);
}

Outcome read_beside_cache(VolumeFile::Impl& file, CachedInode& cached, Kiocb& kiocb,
                          IovView to) noexcept {
  const NewerThanDevice newer =
      newer_than_device(file, cached, kiocb.ki_pos, kiocb.ki_pos + to.length());
  if (!cached.space.has_unwritten_back(newer.offset, newer.end) ||
      planted(PlantedBug::cache_direct_read_without_flush))
    return dio_rw(kiocb, to, file.dio_request());
  if (has(kiocb.ki_flags, KiocbFlags::nowait)) return IoResult::failure(Errc::would_block);
  Issuer::Impl& own = kiocb.issuer->impl();
  if (kiocb.is_sync()) {
    DirectRead task(file, cached, kiocb, to, newer, own, nullptr);
    return task.run();
  }
  auto* task = new DirectRead(file, cached, kiocb, to, newer, own,
                              [](CacheTask& ended, IoResult result) noexcept {
                                auto& whole = static_cast<DirectRead&>(ended);
                                Kiocb& request = whole.kiocb;
                                delete &whole;
                                request.ki_complete(request, result);
                              });
  const Outcome outcome = task->run();
  if (outcome.is_final()) delete task;
  return outcome;
}

}  // namespace handback
