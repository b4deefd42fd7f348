#include "pagecache/page_io.h"

#include <algorithm>
#include <cstring>

#include "base/align.h"
#include "base/planted_bug.h"
#include "pagecache/address_space.h"

namespace handback {

void PageIo::prepare(AddressSpace& of, Issuer::Impl& issuer_of, std::uint64_t offset,
                     KiocbFlags flags, void (*then)(IssuerWork& work) noexcept) noexcept {
  space = &of;
  executor = &issuer_of;
  ended.io = this;
  ended.run = then;
  ki_filp = nullptr;
  ki_pos = offset;
  ki_flags = flags | KiocbFlags::direct | KiocbFlags::dio_defer;
  clear_slot();
  route = Route::none;
  route_reason = RouteReason::none;
  issuer = &issuer_of.self();
  ki_complete = [](Kiocb& kiocb, Outcome outcome) noexcept {
    auto& io = static_cast<PageIo&>(kiocb);
    if (!outcome.is_final()) {
      io.executor->hand_back(kiocb);
      return;
    }
    io.result = outcome.result();
    io.executor->post(io.ended);
  };
}

// The same page may have been asked for, read or taken by others since the caller looked: what is
// there is left alone.
Outcome AddressSpace::start_read(PageCacheLock& guard, const ReadPages& what, WaitPage* wait,
                                 Issuer::Impl& executor) noexcept {
  const std::uint64_t count = std::min<std::uint64_t>(what.count, PageRead::pages_max);
  if (!cache.is_prepared_for_read(count)) [[unlikely]] {
    guard.unlock();
    cache.prepare_memory(count);
    cache.prepare_read_record();
    guard.lock();
  }
  const auto end = [&guard](IoResult result) -> Outcome {
    guard.unlock();
    return result;
  };
  Page* first = cache.find(*this, what.index);
  if (first != nullptr && (first->uptodate || first->reading || first->content.in_use()))
    return end({});
  PageRead* read = cache.take_read();
  if (read == nullptr) return end(IoResult::failure(Errc::would_block));
  read->count = 0;
  read->segment_count = 0;
  while (read->count < count) {
    const std::uint64_t at = what.index + read->count;
    Page* page = read->count == 0 ? first : cache.find(*this, at);
    if (page != nullptr && (page->uptodate || page->busy() || page->content.in_use())) break;
    if (page == nullptr) page = cache.take(*this, at);
    if (page == nullptr) break;
    page->reading = true;
    page->stale = false;
    page->drop = what.drop;
    page->marks_readahead = false;
    read->pages[read->count] = page;
    iovec* const last =
        read->segment_count == 0 ? nullptr : &read->segments[read->segment_count - 1];
    if (last != nullptr && static_cast<std::byte*>(last->iov_base) + last->iov_len == page->data) {
      last->iov_len += page_bytes;
    } else {
      read->segments[read->segment_count++] = iovec{page->data, page_bytes};
    }
    ++read->count;
  }
  if (read->count == 0) {
    cache.give_back(*read);
    return end(IoResult::failure(Errc::would_block));
  }
  if (what.mark != no_page) {
    if (Page* mark = cache.find(*this, what.mark); mark != nullptr) mark->marks_readahead = true;
  }
  if (wait != nullptr) read->pages[0]->waiters.arm(*wait, cache);
  reading_ += read->count;
  cache.counts.pages_read += read->count;
  guard.unlock();

  executor.begin_background();
  read->prepare(*this, executor, what.index * page_bytes, KiocbFlags::none,
                &AddressSpace::read_ended);
  const Outcome outcome = file.page_io(*read, IovView{read->segments, read->segment_count});
  if (!outcome.is_final()) {
    // From here on somebody may be reading with the entry already.
    if (wait != nullptr) return NotFinal{};
    return IoResult{};
  }
  const IoResult result = outcome.result();
  const bool woken = wait != nullptr && !cache.cancel(*wait);
  end_read(*read, result);
  if (woken) return NotFinal{};
  return result.ok() ? IoResult{} : result;
}

void AddressSpace::read_ended(IssuerWork& work) noexcept {
  auto& read = static_cast<PageRead&>(*static_cast<PageIo::Work&>(work).io);
  end_read(read, read.result);
}

void AddressSpace::end_read(PageRead& read, IoResult result) noexcept {
  AddressSpace& space = *read.space;
  PageCache& cache = space.cache;
  Issuer::Impl& executor = *read.executor;
  if (result.ok()) {
    // What lies behind the end of the file is zeros.
    for (std::uint64_t at = result.bytes(); at < std::uint64_t{read.count} * page_bytes;) {
      const std::uint64_t within = at % page_bytes;
      std::memset(read.pages[at / page_bytes]->data + within, 0, page_bytes - within);
      at += page_bytes - within;
    }
  }
  {
    PageCacheLock guard(cache);
    for (std::uint32_t i = 0; i < read.count; ++i) {
      Page& page = *read.pages[i];
      page.reading = false;
      page.uptodate = result.ok() && !page.stale;
      page.stale = false;
      // Who waits for it reads again what is not up to date. The error is for those alone.
      guard.wake(page.waiters, result.ok() ? IoResult{} : result.with_bytes(0));
    }
    space.reading_ -= read.count;
    cache.give_back(read);
    guard.wake(cache.for_memory);
  }
  executor.end_background();
}

std::uint64_t AddressSpace::read_ahead_from(ReadaheadState& ahead, std::uint64_t index,
                                            std::uint64_t count) noexcept {
  constexpr std::uint32_t window_first = 4;
  constexpr std::uint32_t window_max = PageRead::pages_max;
  // In order: where the last read ended, or at the beginning of the file.
  const bool sequential =
      index == ahead.next || index == ahead.last + 1 || (index == 0 && ahead.last != 0);
  if (!sequential) {
    ahead.window = 0;
    return count;
  }
  ahead.window = ahead.window == 0 ? window_first : std::min(ahead.window * 2, window_max);
  // Never so much that what was read ahead pushes itself out.
  const std::uint64_t window = std::min<std::uint64_t>(ahead.window, cache.pages_max() / 16);
  return std::max(count, window);
}

}  // namespace handback
