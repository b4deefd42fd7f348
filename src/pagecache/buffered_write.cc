// Buffered writes: space first, then from page to page, until one has to be waited for.
#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "base/align.h"
#include "base/planted_bug.h"
#include "dio/segment_cursor.h"
#include "pagecache/address_space.h"

namespace handback {

struct BufferedWrite : RangeTask {
  BufferedWrite(AddressSpace& of, Kiocb& request, IovView memory, bool write_through,
                Issuer::Impl& own, Ended then) noexcept
      : RangeTask(own, &BufferedWrite::drive, then),
        space(of),
        kiocb(request),
        from(memory),
        through(write_through) {}

  enum class Stage : std::uint8_t {
    gate,
    gate_passed,
    range,
    place,
    space,
    pages,
    flush,
    durable,
    done
  };

  static Outcome drive(CacheTask& task) noexcept {
    auto& self = static_cast<BufferedWrite&>(task);
    for (;;) {
      const Outcome outcome = self.go();
      if (!outcome.is_final()) return outcome;
      if (!outcome.result().ok()) {
        self.leave_range();
        return outcome.result().with_bytes(self.counted());
      }
      if (self.stage == Stage::done)
        return IoResult::success(static_cast<std::uint32_t>(self.done));
    }
  }

  // What was copied before an error counts: it is in the file.
  [[nodiscard]] std::uint32_t counted() const noexcept {
    return static_cast<std::uint32_t>(stage == Stage::pages ? done : 0);
  }

  // One stage, which moves on to the next, or as much of it as can be had now.
  Outcome go() noexcept {
    switch (stage) {
      case Stage::gate:
        return enter_gate();
      case Stage::gate_passed:
        return pass_gate();
      case Stage::range:
        return enter_range();
      case Stage::place:
        return take_place();
      case Stage::space:
        return take_space();
      case Stage::pages:
        return copy_pages();
      case Stage::flush:
        return flush_pages();
      case Stage::durable:
        return make_durable();
      case Stage::done:
        break;
    }
    return IoResult{};
  }

  Outcome enter_gate() noexcept;
  Outcome pass_gate() noexcept;
  Outcome enter_range() noexcept;
  Outcome take_place() noexcept;
  Outcome take_space() noexcept;
  Outcome copy_pages() noexcept;
  // A write that may not wait: what was written until then counts.
  Outcome content_with_less(PageCacheLock& guard) noexcept;
  void written() noexcept;
  Outcome flush_pages() noexcept;
  Outcome make_durable() noexcept;

  [[nodiscard]] bool nowait() const noexcept { return has(kiocb.ki_flags, KiocbFlags::nowait); }

  AddressSpace& space;
  Kiocb& kiocb;
  IovView from;
  bool through;
  bool asked = false;  // The file has been asked for what the stage needs, and called go_on().
  Stage stage = Stage::gate;
  std::uint64_t position = 0;
  std::uint64_t length = 0;
  std::uint64_t done = 0;
  AddressSpace::Flush flush;
};

Outcome AddressSpace::write(Kiocb& kiocb, IovView from, bool through) noexcept {
  return run_request<BufferedWrite>(kiocb, *this, kiocb, from, through);
}

// Direct writes that started before the file had a page cache know nothing of it: all of them have
// to be over before anything is changed here. Once.
Outcome BufferedWrite::enter_gate() noexcept {
  if (space.accepts_writes_.load(std::memory_order_acquire) ||
      planted(PlantedBug::cache_gate_open)) {
    stage = Stage::range;
    return IoResult{};
  }
  range.offset = 0;
  range.end = ~std::uint64_t{0};
  range.mode = RangeMode::write_exclusive;
  stage = Stage::gate_passed;
  return enter(space.file.direct_writes(), nowait());
}

Outcome BufferedWrite::pass_gate() noexcept {
  leave_range();
  space.accepts_writes_.store(true, std::memory_order_release);
  stage = Stage::range;
  return IoResult{};
}

Outcome BufferedWrite::enter_range() noexcept {
  length = from.length();
  const bool append = has(kiocb.ki_flags, KiocbFlags::append);
  position = append ? space.size() : kiocb.ki_pos;
  range.offset = round_down(position, page_bytes);
  range.end = append ? ~std::uint64_t{0} : round_up(position + length, page_bytes);
  range.mode =
      planted(PlantedBug::cache_write_beside_direct) ? RangeMode::read : RangeMode::write_exclusive;
  stage = Stage::place;
  return enter(space.ranges, nowait());
}

Outcome BufferedWrite::take_place() noexcept {
  if (has(kiocb.ki_flags, KiocbFlags::append)) {
    // Nobody else is at the end of the file now; it may have moved while this stood in line.
    const std::uint64_t end = space.size();
    if (end < range.offset) {
      leave_range();
      stage = Stage::range;
      return IoResult{};
    }
    position = end;
    kiocb.ki_pos = end;
  }
  if (position > space.file.size_bytes_max() - length)
    return IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
  stage = Stage::space;
  return IoResult{};
}

Outcome BufferedWrite::take_space() noexcept {
  if (const IoResult writable = space.file.check_writable(); !writable.ok()) return writable;
  if (asked && !wait.error.ok()) return std::exchange(wait.error, {});
  // The stage goes on from here, so it moves before: the task may be elsewhere after a NotFinal.
  asked = true;
  const std::uint64_t at = round_down(position, page_bytes);
  const Outcome reserved =
      planted(PlantedBug::cache_space_not_reserved)
          ? Outcome{IoResult{}}
          : space.file.reserve(*this, at, round_up(position + length, page_bytes) - at, nowait());
  if (!reserved.is_final() || !reserved.result().ok()) return reserved;
  asked = false;
  wait.error = {};
  stage = Stage::pages;
  return IoResult{};
}

Outcome BufferedWrite::copy_pages() noexcept {
  PageCache& cache = space.cache;
  if (!wait.error.ok()) return std::exchange(wait.error, {});
  SegmentCursor cursor(from);
  cursor.skip(done);
  while (done != length) {
    const std::uint64_t at = position + done;
    const std::uint64_t index = at / page_bytes;
    const std::uint64_t within = at % page_bytes;
    const std::uint64_t bytes = std::min(length - done, std::uint64_t{page_bytes} - within);
    cache.prepare_memory(1);
    PageCacheLock guard(cache);
    if (cache.dirty_pages() >= cache.dirty_pages_background() && cache.writes_in_flight == 0) {
      guard.unlock();
      const bool coming =
          space.start_write_back(executor()) || cache.start_any_write_back(executor());
      guard.lock();
      if (!coming && cache.dirty_pages() >= cache.dirty_pages_max()) return cache.last_error;
    }
    if (cache.dirty_pages() >= cache.dirty_pages_max()) {
      if (cache.writes_in_flight == 0) {
        // Somebody else is about to start one.
        guard.unlock();
        std::this_thread::yield();
        continue;
      }
      if (nowait()) return content_with_less(guard);
      cache.for_write_backs.arm(wait, cache);
      return NotFinal{};
    }
    Page* page = cache.find(space, index);
    if (page != nullptr && page->reading) {
      if (nowait()) return content_with_less(guard);
      page->waiters.arm(wait, cache);
      return NotFinal{};
    }
    const std::uint64_t size = space.size();
    const bool whole = bytes == page_bytes || (within == 0 && at + bytes >= size);
    const bool beyond = index * page_bytes >= size;
    const bool fresh = page == nullptr || !page->uptodate;
    if (fresh && !whole && !beyond) {
      if (nowait()) return content_with_less(guard);
      const IoResult started =
          space.start_read(guard, {.index = index}, nullptr, executor()).result();
      if (started.code() == Errc::would_block) {
        guard.lock();
        if (!cache.memory_will_come()) {
          guard.unlock();
          std::this_thread::yield();
          continue;
        }
        cache.for_memory.arm(wait, cache);
        return NotFinal{};
      }
      if (!started.ok()) return started;
      continue;
    }
    if (page == nullptr) page = cache.take(space, index);
    if (page == nullptr) {
      if (nowait()) return content_with_less(guard);
      if (!cache.memory_will_come()) {
        guard.unlock();
        std::this_thread::yield();
        continue;
      }
      cache.for_memory.arm(wait, cache);
      return NotFinal{};
    }
    if (!page->content.try_change()) {
      guard.unlock();
      std::this_thread::yield();
      continue;
    }
    // Nobody finds it up to date, or evicts it, while its content is being changed.
    guard.unlock();
    if (fresh) {
      std::memset(page->data, 0, within);
      std::memset(page->data + within + bytes, 0, page_bytes - within - bytes);
    }
    std::byte* to = page->data + within;
    for (std::uint64_t left = bytes; left != 0;) {
      const iovec piece = cursor.take(left);
      std::memcpy(to, piece.iov_base, piece.iov_len);
      to += piece.iov_len;
      left -= piece.iov_len;
    }
    guard.lock();
    page->uptodate = true;
    page->drop = has(kiocb.ki_flags, KiocbFlags::dontcache) && (page->drop || fresh);
    EvictionQueue::touch(*page);
    space.mark_dirty(*page);
    done += bytes;
    if (position + done > space.size())
      space.buffered_end_.store(position + done, std::memory_order_release);
    page->content.changed();
  }
  written();
  return IoResult{};
}

Outcome BufferedWrite::content_with_less(PageCacheLock& guard) noexcept {
  guard.unlock();
  if (done == 0) return IoResult::failure(Errc::would_block);
  length = done;
  written();
  return IoResult{};
}

void BufferedWrite::written() noexcept {
  leave_range();
  if (!through && !kiocb.is_dsync() && !has(kiocb.ki_flags, KiocbFlags::dontcache)) {
    stage = Stage::done;
    return;
  }
  flush =
      space.begin_flush(round_down(position, page_bytes), round_up(position + length, page_bytes));
  stage = Stage::flush;
}

Outcome BufferedWrite::flush_pages() noexcept {
  const bool dsync = kiocb.is_dsync();
  if (!through && !dsync) {
    // DONTCACHE: its write-back is started, and the pages go when that has ended.
    space.start_write_back(executor());
    stage = Stage::done;
    return IoResult{};
  }
  const Outcome flushed = space.flush_step(flush, *this);
  if (!flushed.is_final() || !flushed.result().ok()) return flushed;
  stage = dsync ? Stage::durable : Stage::done;
  return IoResult{};
}

Outcome BufferedWrite::make_durable() noexcept {
  if (asked) {
    stage = Stage::done;
    return std::exchange(wait.error, {});
  }
  asked = true;
  const Outcome durable = space.file.make_durable(*this);
  if (durable.is_final()) stage = Stage::done;
  return durable;
}

}  // namespace handback
