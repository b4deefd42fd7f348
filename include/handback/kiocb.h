// A Kiocb is one request by one issuer, until its completion ran.
//
// Owner: the caller, from before submission until ki_complete was entered with a final outcome; in
// between it neither moves nor dies (it cannot be copied or moved at all). Thread class: the
// issuing thread, except where a field says otherwise. Origin: the kernel's struct kiocb with the
// union of the 2023 IOCB_DIO_DEFER series.
#pragma once

#include <sys/uio.h>

#include <handback/error.h>
#include <handback/kiocb_flags.h>
#include <handback/route.h>
#include <cstdint>

namespace handback {

class File;
class Issuer;
class Kiocb;
struct WaitPage;  // The page wait entry of an async buffered read: page_wait.h.

// The completion of a request. Called exactly once with a final outcome; before that, and only if
// the issuer set DIO_DEFER, at most once with NotFinal: the issuer must then call
// kiocb.dio_complete() from its own task context, and what that returns takes the place of this
// outcome. Runs on: device context (any thread): it must not block, allocate, or run user code.
using KiComplete = void (*)(Kiocb& kiocb, Outcome outcome) noexcept;

// The completion side's work, handed back to the issuer. Returns the final result, or NotFinal if
// it submitted a continuation; then ki_complete is called with the final outcome when that ends.
// Runs on: issuer context: it may take locks ranked above a drain and submit I/O, and must never
// wait for I/O.
using DioComplete = Outcome (*)(Kiocb& kiocb) noexcept;

// Segments of memory a request reads into or writes from. Borrowed until the request is final.
struct IovView {
  const iovec* segments = nullptr;
  std::uint32_t count = 0;

  // Bytes of all segments together.
  [[nodiscard]] std::uint64_t length() const noexcept {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < count; ++i)
      sum += segments[i].iov_len;
    return sum;
  }
};

class Kiocb {
 public:
  Kiocb() noexcept = default;
  Kiocb(const Kiocb&) = delete;
  Kiocb& operator=(const Kiocb&) = delete;

  File* ki_filp = nullptr;
  std::uint64_t ki_pos = 0;          // Bytes. With APPEND: set to the offset that was used.
  KiComplete ki_complete = nullptr;  // Null: synchronous, somebody waits for the request.
  // The cookie of whoever owns the request now: the direct-I/O engine's, between submission and
  // settle.
  void* private_ = nullptr;

 private:
  // Holds either a WaitPage* (valid only with WAITQ) or a DioComplete (valid only with DIO_DEFER).
  union Slot {
    WaitPage* ki_waitq;
    DioComplete dio_complete;
  } slot_{nullptr};

 public:
  KiocbFlags ki_flags = KiocbFlags::none;
  std::uint16_t ki_ioprio =
      0;  // As ioprio_set(2): class in the top three bits. 0: the thread's own.
  // Written by the completion side before ki_complete; valid once the request is final.
  Route route = Route::none;
  RouteReason route_reason = RouteReason::none;

  Issuer* issuer = nullptr;  // Whose rings and pools the request uses. Set by Issuer::submit().
  Kiocb* next = nullptr;     // The issuer's queues. Nobody else's.

  [[nodiscard]] bool is_sync() const noexcept { return ki_complete == nullptr; }
  [[nodiscard]] bool is_write() const noexcept { return has(ki_flags, KiocbFlags::write); }
  [[nodiscard]] bool is_dsync() const noexcept {
    return has(ki_flags, KiocbFlags::dsync | KiocbFlags::sync);
  }

  // The page wait entry. Requires: WAITQ set, DIO_DEFER not set. Aborts otherwise.
  [[nodiscard]] WaitPage* ki_waitq() const noexcept;
  void set_ki_waitq(WaitPage* wait) noexcept;

  // The handed-back handler, null until one was set. Requires: DIO_DEFER set, WAITQ not set. Aborts
  // otherwise.
  [[nodiscard]] DioComplete dio_complete() const noexcept;
  void set_dio_complete(DioComplete handler) noexcept;

  // Empties the slot whatever it held. A reused Kiocb starts here, so that no stale handler can be
  // called.
  void clear_slot() noexcept { slot_.dio_complete = nullptr; }

  // Makes this idle Kiocb a request for `lower` with the position, priority and I/O flags of
  // `upper`. Capabilities of the upper issuer are not inherited: DIO_DEFER and WAITQ are clear and
  // the slot is empty; whoever issues the clone sets ki_complete, and DIO_DEFER only if it can
  // itself run handed-back work.
  void init_clone(const Kiocb& upper, File& lower) noexcept;
};
static_assert(sizeof(Kiocb) <= 64, "a Kiocb fits one cache line");

// Something that can be read and written through Kiocbs: a file of a volume, a raw block device, or
// a third party's file over either.
class File {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  virtual ~File() = default;

  // Starts the request. A final outcome means that it has ended and ki_complete will not be called;
  // NotFinal means that ki_complete will be called later (never for a synchronous Kiocb), or, of a
  // read with WAITQ, that its wait entry is armed (page_wait.h).
  // Requires: kiocb.issuer is the calling thread's issuer, or its handed-back work runs here;
  // ki_filp is this file. Runs on: task context; issuer context for an asynchronous request that a
  // file above starts as a continuation. Errors: as documented by the file; alignment and flags are
  // always checked.
  virtual Outcome read_iter(Kiocb& kiocb, IovView to) noexcept = 0;
  virtual Outcome write_iter(Kiocb& kiocb, IovView from) noexcept = 0;

  // Names the file in traces: the inode number of a volume's file, else 0. Runs on: any context.
  [[nodiscard]] virtual std::uint64_t file_id() const noexcept { return 0; }
};

}  // namespace handback
