#include "volume/cached_inode.h"

#include <algorithm>
#include <memory>

#include "base/align.h"
#include "base/planted_bug.h"

namespace handback {

CachedInode::CachedInode(VolumeImpl& volume, Inode& inode, PageCache& cache)
    : space(cache, *this), direct_(volume, inode), named_(direct_) {}

// --- the cache's own I/O ---

std::uint64_t CachedInode::Direct::file_end_max(const Kiocb& kiocb) const noexcept {
  if (planted(PlantedBug::cache_publishes_whole_pages)) return ~std::uint64_t{0};
  return static_cast<const PageIo&>(kiocb).valid_end;
}

Outcome CachedInode::Named::read_iter(Kiocb& kiocb, IovView to) noexcept {
  return dio_rw(kiocb, to, direct.dio_request());
}

Outcome CachedInode::Named::write_iter(Kiocb& kiocb, IovView from) noexcept {
  if (const IoResult writable = direct.volume.check_writable_io(); !writable.ok()) return writable;
  return direct.start_placed(kiocb, from, nullptr);
}

Outcome CachedInode::page_io(PageIo& io, IovView iov) noexcept {
  io.ki_filp = &named_;
  return io.is_write() ? named_.write_iter(io, iov) : named_.read_iter(io, iov);
}

std::uint64_t CachedInode::published_size() const noexcept {
  return direct_.inode.size_bytes.load(std::memory_order_acquire);
}

IoResult CachedInode::check_writable() const noexcept {
  return direct_.volume.check_writable_io();
}

DioInflight& CachedInode::direct_writes() noexcept {
  return direct_.inode.open->inflight;
}

// --- what may have to wait for the log ---

namespace {

// A task that waits for a commit, and a flush if that does not cover its data. Deletes itself.
struct CommitForTask : CommitWaiter {
  CacheTask* task = nullptr;
  Issuer::Impl* issuer = nullptr;
  std::unique_ptr<BioGroup> flush;
  VolumeImpl* volume = nullptr;

  void end(IoResult result) noexcept {
    CacheTask* const waiting = task;
    Issuer::Impl* const of = issuer;
    delete this;
    of->end_background();
    waiting->go_on(result);
  }
};

Outcome start_flush(CommitForTask& waiter) noexcept {
  waiter.flush = std::make_unique<BioGroup>(waiter.issuer->self(), waiter.volume->device());
  waiter.flush->flush();
  waiter.flush->start(
      [](BioGroup& group, void* owner) noexcept {
        auto& self = *static_cast<CommitForTask*>(owner);
        const IoResult result = group.result();
        if (!result.ok()) self.volume->journal().poison(result);
        self.end(result);
      },
      &waiter);
  return NotFinal{};
}

// `data`: what was written before must be durable too.
Outcome commit_for(CacheTask& task, VolumeImpl& volume, std::uint64_t sequence,
                   bool data) noexcept {
  auto* waiter = new CommitForTask;
  waiter->task = &task;
  waiter->volume = &volume;
  waiter->issuer = &task.executor();
  waiter->sequence = sequence;
  waiter->data_is_durable = !data;
  waiter->ended = [](CommitWaiter& of, IoResult result) noexcept {
    auto& self = static_cast<CommitForTask&>(of);
    const bool flush = result.ok() && !self.data_is_durable && !self.flush_covers_call &&
                       self.volume->device().geometry().volatile_cache;
    if (!flush) {
      self.end(result);
      return;
    }
    // The leader's thread may be another one; the flush is for whoever runs this.
    static_cast<void>(start_flush(self));
  };
  waiter->issuer->begin_background();
  Issuer::Impl& issuer = *waiter->issuer;
  if (data && sequence <= volume.journal().durable_sequence()) {
    if (volume.device().geometry().volatile_cache) return start_flush(*waiter);
    delete waiter;
    issuer.end_background();
    return IoResult{};
  }
  const Outcome started = volume.journal().commit(issuer, *waiter);
  if (!started.is_final()) return NotFinal{};
  const bool flush = started.result().ok() && data && !waiter->flush_covers_call &&
                     volume.device().geometry().volatile_cache;
  if (flush) return start_flush(*waiter);
  delete waiter;
  issuer.end_background();
  return started;
}

}  // namespace

Outcome CachedInode::reserve(CacheTask& task, std::uint64_t offset, std::uint64_t length,
                             bool nowait) noexcept {
  VolumeImpl& volume = direct_.volume;
  Inode& inode = direct_.inode;
  std::uint64_t block = offset / fs_block;
  const std::uint64_t end = round_up(offset + length, fs_block) / fs_block;
  while (block < end) {
    ExtentMap::Lookup found;
    {
      const std::lock_guard guard(inode.map_lock);
      found = inode.extents.lookup(block);
    }
    if (found.hole) {
      bool made = false;
      const IoResult taken = volume.allocate_for_write(inode, block, end - block, &found, &made);
      if (!taken.ok()) {
        const bool may_come = taken.code() == Errc::no_space && taken.detail() == IoDetail::none &&
                              volume.blocks_waiting() != 0;
        if (!may_come || nowait) return taken;
        std::uint64_t newest = 0;
        {
          const std::lock_guard guard(volume.metadata_lock());
          newest = volume.journal().newest_sequence();
        }
        const Outcome committed = commit_for(task, volume, newest, false);
        if (!committed.is_final() || !committed.result().ok()) return committed;
        continue;
      }
    }
    block = found.offset + found.count;
  }
  return IoResult{};
}

Outcome CachedInode::make_durable(CacheTask& task) noexcept {
  VolumeImpl& volume = direct_.volume;
  if (volume.journal().failed()) return IoResult::failure(Errc::poisoned);
  return commit_for(task, volume, direct_.inode.dirty_sequence.load(std::memory_order_acquire),
                    true);
}

}  // namespace handback
