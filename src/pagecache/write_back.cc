// Write-back: dirty pages go to the device in runs, copied first, so that nobody who changes a page
// has to wait for the device, and what is on its way never changes.
#include <algorithm>
#include <cstring>
#include <thread>

#include "base/planted_bug.h"
#include "pagecache/address_space.h"

namespace handback {

// One at a time takes pages and submits them: sizes are published in the order of submission, and
// what lies behind the published end must be submitted in the order of offsets.
AddressSpace::Started AddressSpace::start_one(std::uint64_t offset, std::uint64_t end,
                                              std::uint64_t epoch, bool retry,
                                              Issuer::Impl& executor) noexcept {
  cache.prepare_write_back_record();
  PageCacheLock guard(cache);
  if (starting_) return Started::others_start;
  // The first that may go. One that is on its way goes again when it has arrived; one that failed
  // only when somebody asks for it.
  const auto may_go = [&](const Page& page) {
    return page.dirty_epoch <= epoch && !page.writeback && (retry || !page.failed);
  };
  auto it = dirty_.lower_bound(offset / page_bytes);
  while (it != dirty_.end() && it->offset() < end && !may_go(*it))
    ++it;
  if (it == dirty_.end() || it->offset() >= end) return Started::nothing;
  // Behind the published end nothing goes before what lies below it.
  const std::uint64_t published = file.published_size();
  if (it->offset() >= published) {
    for (auto below = dirty_.lower_bound(published / page_bytes); below->index < it->index;
         ++below) {
      if (below->writeback || planted(PlantedBug::cache_writes_back_out_of_order)) continue;
      if (!retry && below->failed) return Started::nothing;
      it = dirty_.iterator_to(*below);
      break;
    }
  }
  WriteBack* write = cache.take_write_back();
  if (write == nullptr) return Started::no_record;
  starting_ = true;
  write->count = 0;
  write->first = it->index;
  write->min_epoch = ~std::uint64_t{0};
  write->space = this;
  const std::uint64_t file_size = size();
  while (it != dirty_.end() && write->count < cache.write_back_pages() &&
         it->index == write->first + write->count && !it->writeback && (retry || !it->failed)) {
    Page& page = *it++;
    write->min_epoch = std::min(write->min_epoch, page.dirty_epoch);
    mark_clean(page);
    page.failed = false;
    page.writeback = true;
    write->pages[write->count++] = &page;
  }
  unwritten_count_.fetch_add(1, std::memory_order_release);
  const std::uint64_t at = write->first * page_bytes;
  write->valid_end = std::min(at + std::uint64_t{write->count} * page_bytes, file_size);
  write->next = write_backs_;
  write_backs_ = write;
  cache.counts.pages_written += write->count;
  for (std::uint32_t i = 0; i < write->count; ++i) {
    Page& page = *write->pages[i];
    while (!page.content.try_share()) {
      guard.unlock();
      std::this_thread::yield();
      guard.lock();
    }
  }
  guard.unlock();
  for (std::uint32_t i = 0; i < write->count; ++i) {
    Page& page = *write->pages[i];
    std::memcpy(write->copy.data() + std::size_t{i} * page_bytes, page.data, page_bytes);
    page.content.unshare();
  }

  executor.begin_background();
  write->segment = iovec{write->copy.data(), std::size_t{write->count} * page_bytes};
  write->prepare(*this, executor, at, KiocbFlags::write, &AddressSpace::write_back_ended);
  const Outcome outcome = file.page_io(*write, IovView{&write->segment, 1});
  guard.lock();
  starting_ = false;
  guard.wake(for_starting_);
  guard.unlock();
  if (outcome.is_final()) end_write_back(*write, outcome.result());
  return Started::started;
}

void AddressSpace::write_back_ended(IssuerWork& work) noexcept {
  auto& write = static_cast<WriteBack&>(*static_cast<PageIo::Work&>(work).io);
  end_write_back(write, write.result);
}

void AddressSpace::end_write_back(WriteBack& write, IoResult result) noexcept {
  AddressSpace& space = *write.space;
  PageCache& cache = space.cache;
  Issuer::Impl& executor = *write.executor;
  bool more = false;
  {
    PageCacheLock guard(cache);
    for (std::uint32_t i = 0; i < write.count; ++i) {
      Page& page = *write.pages[i];
      page.writeback = false;
      if (!result.ok() && !planted(PlantedBug::cache_failed_page_counts_as_clean)) {
        // Nobody else has these bytes. They stay, and whoever asks for them to be durable tries
        // again.
        space.mark_dirty(page);
        page.dirty_epoch = std::min(page.dirty_epoch, write.min_epoch);
        page.failed = result.code() != Errc::canceled;
      }
    }
    // The issuer's thread has ended while the write stood in line: nothing is wrong with it.
    if (!result.ok() && result.code() != Errc::canceled) {
      ++space.errors_;
      space.error_ = result.with_bytes(0);
      cache.last_error = space.error_;
    }
    WriteBack** link = &space.write_backs_;
    while (*link != &write)
      link = &(*link)->next;
    *link = write.next;
    space.unwritten_count_.fetch_sub(1, std::memory_order_release);
    guard.wake(write.waiters);
    for (std::uint32_t i = 0; i < write.count; ++i) {
      Page& page = *write.pages[i];
      if (page.drop && !page.dirty && !page.busy() && !page.content.in_use()) cache.drop(page);
    }
    more = result.ok() && cache.dirty_pages() > cache.dirty_pages_background();
    cache.give_back(write);
    guard.wake(cache.for_memory);
    guard.wake(cache.for_write_backs);
    if (more) ++space.ending_;
  }
  if (more) {
    space.start_write_back(executor);
    const PageCacheLock guard(cache);
    --space.ending_;
  }
  executor.end_background();
}

bool AddressSpace::start_write_back(Issuer::Impl& executor) noexcept {
  const Started started = start_one(0, ~std::uint64_t{0}, ~std::uint64_t{0}, false, executor);
  if (started == Started::started || started == Started::others_start) return true;
  const PageCacheLock guard(cache);
  return cache.writes_in_flight != 0;
}

bool PageCache::start_any_write_back(Issuer::Impl& executor) noexcept {
  PageCacheLock guard(*this);
  for (std::size_t left = dirty_spaces.size(); left != 0 && !dirty_spaces.empty(); --left) {
    auto& space = static_cast<AddressSpace&>(dirty_spaces.front());
    dirty_spaces.splice(dirty_spaces.end(), dirty_spaces, dirty_spaces.begin());
    ++space.ending_;
    guard.unlock();
    const bool started = space.start_write_back(executor);
    guard.lock();
    --space.ending_;
    if (started) return true;
  }
  return false;
}

WriteBack* AddressSpace::in_flight_within(const Flush& flush) noexcept {
  for (WriteBack* write = write_backs_; write != nullptr; write = write->next) {
    const std::uint64_t at = write->first * page_bytes;
    if (at < flush.end && flush.offset < at + std::uint64_t{write->count} * page_bytes &&
        write->min_epoch <= flush.epoch)
      return write;
  }
  return nullptr;
}

AddressSpace::Flush AddressSpace::begin_flush(std::uint64_t offset, std::uint64_t end) noexcept {
  const PageCacheLock guard(cache);
  return {.offset = offset, .end = end, .epoch = epoch_++, .errors = errors_};
}

Outcome AddressSpace::flush_step(const Flush& flush, CacheTask& task) noexcept {
  for (;;) {
    {
      // Before another try at what has failed since this looked.
      const PageCacheLock guard(cache);
      if (errors_ != flush.errors) return error_;
    }
    const Started started = start_one(flush.offset, flush.end, flush.epoch, true, task.executor());
    PageCacheLock guard(cache);
    // Also of one that failed as it was started, and would again.
    if (errors_ != flush.errors) return error_;
    if (started == Started::started) continue;
    if (started == Started::others_start) {
      if (!starting_) continue;
      for_starting_.arm(task.wait, cache);
      return NotFinal{};
    }
    if (started == Started::no_record) {
      if (cache.writes_in_flight == 0) continue;
      cache.for_write_backs.arm(task.wait, cache);
      return NotFinal{};
    }
    WriteBack* write = in_flight_within(flush);
    if (write == nullptr || planted(PlantedBug::cache_flush_does_not_wait)) {
      // What was dirty again before this looked is on its way, or newer than the flush.
      const auto found = dirty_.lower_bound(flush.offset / page_bytes);
      bool left = false;
      for (auto it = found; it != dirty_.end() && it->offset() < flush.end && !left; ++it)
        left = it->dirty_epoch <= flush.epoch && !it->writeback;
      if (left && write == nullptr) continue;
      return IoResult{};
    }
    write->waiters.arm(task.wait, cache);
    return NotFinal{};
  }
}

IoResult AddressSpace::flush_and_wait(Issuer& issuer, std::uint64_t offset,
                                      std::uint64_t end) noexcept {
  if (unwritten_count_.load(std::memory_order_acquire) == 0) return {};
  struct Flushing : CacheTask {
    Flushing(AddressSpace& of, const Flush& what, Issuer::Impl& own) noexcept
        : CacheTask(
              own,
              [](CacheTask& task) noexcept -> Outcome {
                auto& self = static_cast<Flushing&>(task);
                return self.space.flush_step(self.flush, self);
              },
              nullptr),
          space(of),
          flush(what) {}
    AddressSpace& space;
    Flush flush;
  };
  Flushing task(*this, begin_flush(offset, end), issuer.impl());
  return task.run().result();
}

}  // namespace handback
