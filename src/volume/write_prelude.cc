#include "volume/write_prelude.h"

#include <memory>

#include "base/align.h"
#include "dio/inflight.h"

namespace handback {
namespace {

// The write will not start.
void let_go(VolumeFile::Impl& file, const Kiocb& kiocb, IovView from, void* hold) noexcept {
  file.leave_cache(
      {.offset = kiocb.ki_pos, .bytes = static_cast<std::uint32_t>(from.length()), .hold = hold});
}

// One write that waits for something before it starts. Deletes itself when it has started the
// write.
struct Prelude {
  Prelude(VolumeFile::Impl& of, Kiocb& request, IovView memory, void* cache_hold)
      : file(of), kiocb(request), from(memory), hold(cache_hold), issuer(request.issuer->impl()) {
    arrival.prelude = this;
    waiter.prelude = this;
  }

  // Everything comes back as work on the request's own issuer, whoever caused it.
  struct Arrival : IssuerWork {
    Prelude* prelude = nullptr;
  };

  void begin_write() noexcept {
    VolumeFile::Impl& to = file;
    Kiocb& request = kiocb;
    const IovView memory = from;
    void* const held = hold;
    // After a tail was cleaned, the file may have another one by now.
    delete this;
    const Outcome outcome = to.start_placed(request, memory, held);
    if (outcome.is_final()) request.ki_complete(request, outcome);
  }

  void end_with(IoResult error) noexcept {
    Kiocb& request = kiocb;
    let_go(file, request, from, hold);
    delete this;
    request.ki_complete(request, error);
  }

  VolumeFile::Impl& file;
  Kiocb& kiocb;
  IovView from;
  void* hold;
  Issuer::Impl& issuer;
  Arrival arrival;

  RangeEntry range;
  struct Standing : InLine {
    Prelude* prelude = nullptr;
  } in_line;
  std::unique_ptr<TailCleaner> cleaner;
  BlockRun begun;  // With checksums of data: the last block, on the device.

  // The tail may belong to a write that is to be confirmed first.
  struct Waiter : CommitWaiter {
    Prelude* prelude = nullptr;
  } waiter;
  IoResult prepared;  // How the preparation ended.
};

void hold_last_block(const Inode& inode, RangeEntry& range) noexcept {
  range.offset = round_down(inode.size_bytes.load(std::memory_order_acquire), fs_block);
  range.end = range.offset + fs_block;
  range.mode = RangeMode::everything;
}

void clean_tail(Prelude& prelude) noexcept;

// True: clean_tail() will be called again. False: the log is as durable as that, or has failed.
bool wait_for_log(Prelude& prelude) noexcept {
  prelude.arrival.run = [](IssuerWork& work) noexcept {
    clean_tail(*static_cast<Prelude::Arrival&>(work).prelude);
  };
  prelude.waiter.ended = [](CommitWaiter& waiter, IoResult /*result*/) noexcept {
    Prelude& waiting = *static_cast<Prelude::Waiter&>(waiter).prelude;
    waiting.issuer.post(waiting.arrival);
  };
  const Outcome started =
      prelude.file.volume.journal().commit(Issuer::Impl::executor(prelude.issuer), prelude.waiter);
  return !started.is_final();
}

// False: the waiter says what has to be durable first.
bool tail_is_confirmed(Prelude& prelude) noexcept {
  VolumeImpl& volume = prelude.file.volume;
  const std::uint64_t id =
      volume.unconfirmed_in(prelude.file.inode, prelude.range.offset, prelude.range.end);
  if (id == 0) return true;
  prelude.waiter.sequence = volume.journal().durable_sequence();
  prelude.waiter.confirm_id = id;
  prelude.waiter.data_is_durable = false;
  return false;
}

// The same; true: the block is about to be written to.
bool tail_is_begun(Prelude& prelude) noexcept {
  VolumeImpl& volume = prelude.file.volume;
  if (!volume.has_checksums()) return true;
  Inode& inode = prelude.file.inode;
  const std::uint64_t block = prelude.range.offset / fs_block;
  if (volume.begin_data(inode, block, block + 1, &prelude.begun).ok()) return true;
  prelude.waiter.sequence = inode.open->mark_sequence.load(std::memory_order_acquire);
  prelude.waiter.confirm_id = 0;
  prelude.waiter.data_is_durable = true;
  return false;
}

// Leaves the last block; then the write starts, or fails.
void tail_prepared(Prelude& prelude, IoResult result) noexcept {
  dio_inflight_impl(prelude.file.inode.open->inflight).leave(prelude.range);
  prelude.prepared = result;
  prelude.arrival.run = [](IssuerWork& work) noexcept {
    Prelude& ready = *static_cast<Prelude::Arrival&>(work).prelude;
    if (ready.prepared.ok()) {
      ready.begin_write();
    } else {
      ready.end_with(ready.prepared);
    }
  };
  prelude.issuer.post(prelude.arrival);
}

void clean_tail(Prelude& prelude) noexcept {
  for (;;) {
    // What a log that has failed will never confirm must not be touched.
    if (prelude.file.volume.journal().failed()) {
      tail_prepared(prelude, IoResult::failure(Errc::poisoned));
      return;
    }
    if (tail_is_confirmed(prelude) && tail_is_begun(prelude)) break;
    if (wait_for_log(prelude)) return;
  }
  prelude.cleaner = std::make_unique<TailCleaner>(prelude.issuer, prelude.file.volume.device(),
                                                  prelude.file.inode, prelude.range.offset);
  prelude.cleaner->start(
      [](TailCleaner& cleaner, void* owner) noexcept {
        auto& waiting = *static_cast<Prelude*>(owner);
        const IoResult result = cleaner.result();
        if (waiting.file.volume.has_checksums())
          waiting.file.volume.end_block(waiting.begun, result.ok());
        if (!result.ok()) tail_failed(waiting.file.volume, cleaner);
        // Nothing starts from here: this is still inside the cleaner, which goes with the prelude.
        tail_prepared(waiting, result);
      },
      &prelude);
}

Outcome write_after_tail_blocking(VolumeFile::Impl& file, Kiocb& kiocb, IovView from,
                                  void* hold) noexcept {
  {
    const std::uint64_t last = round_down(file.size_bytes(), fs_block);
    const DioInflight::Drain drain(file.inode.open->inflight, *kiocb.issuer, last, fs_block);
    if (auto confirmed = file.volume.wait_until_confirmed(*kiocb.issuer, file.inode); !confirmed) {
      let_go(file, kiocb, from, hold);
      return IoResult::failure(Errc::poisoned);
    }
    IoResult result = IoResult::failure(Errc::poisoned);
    if (auto cleaned = file.volume.clean_tail_and_wait(*kiocb.issuer, file.inode, last, &result);
        !cleaned) {
      let_go(file, kiocb, from, hold);
      return result;
    }
  }
  return file.start_placed(kiocb, from, hold);
}

}  // namespace

void tail_failed(VolumeImpl& volume, const TailCleaner& cleaner) noexcept {
  if (cleaner.flush_failed()) {
    volume.journal().poison(cleaner.result());
  } else {
    volume.write_failed(cleaner.result());
  }
}

Outcome write_after_tail(VolumeFile::Impl& file, Kiocb& kiocb, IovView from, void* hold) noexcept {
  if (kiocb.is_sync()) return write_after_tail_blocking(file, kiocb, from, hold);
  // Deletes itself.
  auto* prelude = std::make_unique<Prelude>(file, kiocb, from, hold).release();
  hold_last_block(file.inode, prelude->range);
  prelude->range.owner = prelude;
  prelude->arrival.run = [](IssuerWork& work) noexcept {
    clean_tail(*static_cast<Prelude::Arrival&>(work).prelude);
  };
  prelude->range.granted = [](RangeEntry& entry) noexcept {
    auto& waiting = *static_cast<Prelude*>(entry.owner);
    waiting.issuer.in_line().remove(waiting.in_line);
    waiting.issuer.post(waiting.arrival);
  };
  prelude->in_line.prelude = prelude;
  prelude->in_line.withdraw = [](InLine& entry) noexcept {
    Prelude& waiting = *static_cast<Prelude::Standing&>(entry).prelude;
    return dio_inflight_impl(waiting.file.inode.open->inflight)
        .withdraw(waiting.range, &waiting.range.granted_next);
  };
  prelude->in_line.cancel = [](InLine& entry) noexcept {
    Prelude& waiting = *static_cast<Prelude::Standing&>(entry).prelude;
    DioInflight::Impl::call_granted(waiting.range.granted_next);
    waiting.end_with(IoResult::failure(Errc::canceled));
  };
  const bool nowait = has(kiocb.ki_flags, KiocbFlags::nowait);
  Issuer::Impl& issuer = prelude->issuer;
  issuer.in_line().add(prelude->in_line);
  switch (dio_inflight_impl(file.inode.open->inflight).enter(prelude->range, nowait)) {
    case DioInflight::Impl::Entered::granted:
      issuer.in_line().remove(prelude->in_line);
      clean_tail(*prelude);
      break;
    case DioInflight::Impl::Entered::queued:
      // The prelude may be over by now: a thread that waits may have adopted it.
      issuer.set_needs_others();
      break;
    case DioInflight::Impl::Entered::no_place:  // Only of entries that ask for one.
    case DioInflight::Impl::Entered::refused:
      issuer.in_line().remove(prelude->in_line);
      let_go(file, kiocb, from, hold);
      delete prelude;
      return IoResult::failure(Errc::would_block);
  }
  return NotFinal{};
}

}  // namespace handback
