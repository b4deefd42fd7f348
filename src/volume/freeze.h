// A freeze of the volume: a range over all of every open file that keeps writes out and lets reads
// pass, held until the thaw.
//
// It is a drain of all files at once: who stands in line does so without blocking, and the wait for
// what is in flight adopts and nudges like any other. Guarded by the volume's metadata lock, except
// what says otherwise.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/thread_serial.h"
#include "dio/inflight.h"
#include "issuer/issuer_impl.h"
#include "volume/metadata.h"

namespace handback {

class Freeze {
 public:
  explicit Freeze(Issuer::Impl& issuer) noexcept;
  Freeze(const Freeze&) = delete;
  Freeze& operator=(const Freeze&) = delete;
  ~Freeze() = default;  // Requires: let_all_go().

  // Adds an open file, for hold_all().
  void add(Inode& inode);
  // Keeps writes out of all that were added: at once, or when those in flight have settled.
  void hold_all() noexcept;
  // The same for a file that was opened just now: nothing is in flight on it.
  void hold_new(Inode& inode);
  // The file's last handle is about to go, so nothing is in flight on it any more.
  void let_go(Inode& inode) noexcept;
  void let_all_go() noexcept;

  // Without the lock. Waits until every file is held.
  void wait_until_held() noexcept;

  // The thread that froze.
  [[nodiscard]] bool is_mine() const noexcept { return owner_ == thread_serial(); }
  bool complete = false;  // The freeze has succeeded.

 private:
  // Lives as long as the freeze, also if its file does not: the thread that granted it may still be
  // on its way out.
  struct Hold {
    RangeEntry range;
    Inode* inode = nullptr;
    Freeze* freeze = nullptr;
  };
  struct AllHeld : IssuerWork {
    bool here = false;
  };

  void granted() noexcept;

  Issuer::Impl& issuer_;
  std::uint64_t owner_;
  std::vector<std::unique_ptr<Hold>> holds_;
  std::atomic<std::size_t> awaited_{1};  // Files in line, and one until the wait begins.
  AllHeld all_held_;
};

}  // namespace handback
