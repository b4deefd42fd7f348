// Buffered reads: from page to page, until one has to be waited for.
#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "base/planted_bug.h"
#include "dio/segment_cursor.h"
#include "pagecache/address_space.h"

namespace handback {

namespace {

void copy_out(SegmentCursor& to, const std::byte* from, std::uint64_t bytes) noexcept {
  while (bytes != 0) {
    const iovec piece = to.take(bytes);
    std::memcpy(piece.iov_base, from, piece.iov_len);
    from += piece.iov_len;
    bytes -= piece.iov_len;
  }
}

}  // namespace

// A read whose issuer has not given it a wait entry of its own.
struct BufferedRead : CacheTask {
  BufferedRead(AddressSpace& of, Kiocb& request, IovView memory, ReadaheadState& state,
               std::uint64_t bytes_done, Issuer::Impl& own, Ended then) noexcept
      : CacheTask(own, &BufferedRead::drive, then),
        space(of),
        kiocb(request),
        to(memory),
        ahead(state) {
    wait.bytes_done = bytes_done;
  }

  static Outcome drive(CacheTask& task) noexcept {
    auto& self = static_cast<BufferedRead&>(task);
    return self.space.drive_read(self.kiocb, self.to, self.ahead, &self.wait,
                                 &self.wait.bytes_done);
  }

  AddressSpace& space;
  Kiocb& kiocb;
  IovView to;
  ReadaheadState& ahead;
};

Outcome AddressSpace::read(Kiocb& kiocb, IovView to, ReadaheadState& ahead) noexcept {
  if (has(kiocb.ki_flags, KiocbFlags::waitq)) {
    WaitPage& wait = *kiocb.ki_waitq();
    Issuer::Impl& own = kiocb.issuer->impl();
    const Outcome outcome = drive_read(kiocb, to, ahead, &wait, &wait.bytes_done);
    // The page may be on its way for another issuer, whose thread is elsewhere.
    if (!outcome.is_final()) own.set_needs_others();
    return outcome;
  }
  std::uint64_t done = 0;
  const Outcome at_once = drive_read(kiocb, to, ahead, nullptr, &done);
  if (at_once.is_final()) {
    const IoResult result = at_once.result();
    if (result.code() != Errc::would_block ||
        has(kiocb.ki_flags, KiocbFlags::nowait | KiocbFlags::noio)) {
      return result;
    }
  }
  return run_request<BufferedRead>(kiocb, *this, kiocb, to, ahead, done);
}

// `wait`: null if the read may not wait; then would_block, with the bytes so far in *done, unless
// the request is one that is content with less.
Outcome AddressSpace::drive_read(Kiocb& kiocb, IovView to, ReadaheadState& ahead, WaitPage* wait,
                                 std::uint64_t* done) noexcept {
  const KiocbFlags flags = kiocb.ki_flags;
  const bool noio = has(flags, KiocbFlags::noio);
  const bool drop = has(flags, KiocbFlags::dontcache);
  const std::uint64_t length = to.length();
  const auto so_far = [&] { return static_cast<std::uint32_t>(*done); };
  // A read that may not wait is content with what it got.
  const auto stop = [&](IoResult why) -> Outcome {
    const bool content = has(flags, KiocbFlags::nowait | KiocbFlags::noio);
    if (*done != 0 && content && why.code() == Errc::would_block)
      return IoResult::success(so_far());
    return why.with_bytes(so_far());
  };
  if (wait != nullptr && !wait->error.ok()) return stop(std::exchange(wait->error, {}));
  SegmentCursor cursor(to);
  cursor.skip(*done);
  PageCacheLock guard(cache);
  while (*done != length) {
    const std::uint64_t at = kiocb.ki_pos + *done;
    const std::uint64_t index = at / page_bytes;
    Page* page = cache.find(*this, index);
    if (page != nullptr && page->uptodate) [[likely]] {
      __builtin_prefetch(page->data + at % page_bytes);
      // Looked at with the page in hand: a truncation moves the end first, and then takes the
      // pages.
      const std::uint64_t end = size();
      if (at >= end) break;
      if (!page->content.try_share()) {
        guard.unlock();
        std::this_thread::yield();
        guard.lock();
        continue;
      }
      if (ahead.last != index) EvictionQueue::touch(*page);
      ++cache.counts.hits;
      const bool start_ahead = page->marks_readahead && !noio;
      page->marks_readahead = false;
      ahead.last = index;
      const std::uint64_t window = start_ahead ? read_ahead_from(ahead, ahead.next, 1) : 0;
      const std::uint64_t ahead_at = ahead.next;
      guard.unlock();
      const std::uint64_t within = at % page_bytes;
      const std::uint64_t bytes =
          std::min({length - *done, end - at, std::uint64_t{page_bytes} - within});
      copy_out(cursor, page->data + within, bytes);
      page->content.unshare();
      *done += bytes;
      if (window != 0) start_ahead_of(ahead, ahead_at, window, drop, kiocb);
      if (drop && (within + bytes == page_bytes || at + bytes == end)) let_go(index);
      if (*done == length) return IoResult::success(so_far());
      guard.lock();
      continue;
    }
    if (at >= size()) break;
    if (page != nullptr && page->reading) {
      if (wait == nullptr || noio) {
        guard.unlock();
        return stop(IoResult::failure(Errc::would_block));
      }
      kiocb.ki_flags = flags & ~KiocbFlags::nowait;
      page->waiters.arm(*wait, cache);
      return NotFinal{};
    }
    if (noio) {
      guard.unlock();
      return stop(IoResult::failure(Errc::would_block));
    }
    if (page != nullptr && page->content.in_use()) {
      // A write fills it for the first time, within a copy of a page.
      guard.unlock();
      std::this_thread::yield();
      guard.lock();
      continue;
    }
    ++cache.counts.misses;
    const std::uint64_t last = (kiocb.ki_pos + length + page_bytes - 1) / page_bytes;
    const std::uint64_t file_end = (size() + page_bytes - 1) / page_bytes;
    const std::uint64_t wanted = std::min(
        read_ahead_from(ahead, index, std::max<std::uint64_t>(1, last - index)), file_end - index);
    const bool marks = wanted > last - index;
    ahead.next = index + std::min<std::uint64_t>(wanted, PageRead::pages_max);
    // Before it is armed; from then on the request may be somebody else's.
    if (wait != nullptr) kiocb.ki_flags = flags & ~KiocbFlags::nowait;
    // The next stretch is started when the reader comes to where this one was asked for.
    const Outcome outcome = start_read(
        guard, {.index = index, .count = wanted, .drop = drop, .mark = marks ? last : no_page},
        wait, Issuer::Impl::executor(kiocb.issuer->impl()));
    if (!outcome.is_final()) return NotFinal{};
    const IoResult started = outcome.result();
    if (started.code() == Errc::would_block && wait != nullptr) {
      // No memory, or no record: wait for one that comes back.
      guard.lock();
      if (cache.memory_will_come()) {
        cache.for_memory.arm(*wait, cache);
        return NotFinal{};
      }
      guard.unlock();
      std::this_thread::yield();
      guard.lock();
      continue;
    }
    if (!started.ok()) return stop(started);
    guard.lock();
  }
  guard.unlock();
  return IoResult::success(so_far());
}

void AddressSpace::start_ahead_of(ReadaheadState& ahead, std::uint64_t index, std::uint64_t count,
                                  bool drop, Kiocb& kiocb) noexcept {
  const std::uint64_t file_end = (size() + page_bytes - 1) / page_bytes;
  if (index >= file_end) return;
  count = std::min<std::uint64_t>({count, file_end - index, PageRead::pages_max});
  PageCacheLock guard(cache);
  const Outcome started =
      start_read(guard, {.index = index, .count = count, .drop = drop, .mark = index}, nullptr,
                 Issuer::Impl::executor(kiocb.issuer->impl()));
  if (!started.result().ok()) return;
  guard.lock();
  ahead.next = index + count;
}

// DONTCACHE: a page that such a read brought in goes when it was read to its end.
void AddressSpace::let_go(std::uint64_t index) noexcept {
  PageCacheLock guard(cache);
  Page* page = cache.find(*this, index);
  if (page == nullptr || !page->drop || page->dirty || page->busy() || page->content.in_use())
    return;
  cache.drop(*page);
  guard.wake(cache.for_memory);
}

}  // namespace handback
