// An Issuer is one thread's way to submit requests and to have their completions run: its queues to
// the devices, its pools, the completion work handed back to it, and the one place where it sleeps.
//
// Owner: the thread that created it; every function is for that thread only (asserted), except
// post(). While that thread is elsewhere, a thread that waits inside the library may settle what
// was handed back here (adoption), and may send this thread a signal whose handler reaps its rings
// (a nudge: IssuerOptions::nudge_signal); callbacks never run there. Completions are settled in
// poll(), wait() and inside blocking calls of the library, and delivered (the user's callback) only
// in poll() and wait(), each exactly once, never from inside submit().
#pragma once

#include <handback/block_device.h>
#include <handback/error.h>
#include <handback/kiocb.h>
#include <handback/page_wait.h>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace handback {

class Environment;
class WorkerPool;

// Library work posted to an issuer: runs once, in issuer context, from poll(), wait() or a blocking
// call. Owner: whoever posts it, until run was entered.
struct IssuerWork {
  void (*run)(IssuerWork& work) noexcept = nullptr;
  IssuerWork* next = nullptr;  // The inbox's.
};

// The issuer's control block: a Kiocb with its buffer, its callback and its result. Callers embed
// or derive. Owner: the caller, from submit() until the callback was entered.
struct Aiocb : Kiocb {
  using Callback = void (*)(Aiocb& aiocb) noexcept;

  // Prepare a direct read or write of one segment. `callback` may be null for Issuer::run().
  // The Aiocb may be reused as soon as its callback was entered.
  void prepare_read(File& file, std::uint64_t offset, std::span<std::byte> to,
                    Callback callback = nullptr, void* context = nullptr) noexcept;
  void prepare_write(File& file, std::uint64_t offset, std::span<const std::byte> from,
                     KiocbFlags extra_flags = KiocbFlags::none, Callback callback = nullptr,
                     void* context = nullptr) noexcept;
  // As above for several segments; the array is borrowed until the request is final.
  void prepare_readv(File& file, std::uint64_t offset, IovView to, Callback callback = nullptr,
                     void* context = nullptr) noexcept;
  void prepare_writev(File& file, std::uint64_t offset, IovView from,
                      KiocbFlags extra_flags = KiocbFlags::none, Callback callback = nullptr,
                      void* context = nullptr) noexcept;

  // Prepare a buffered read or write, of any alignment; `extra_flags` may have NOWAIT, DONTCACHE,
  // of a read NOIO, of a write DSYNC, SYNC, APPEND. A read that meets a page under I/O arms the
  // wait entry of this Aiocb (WAITQ), and the issuer reads again when the page is there.
  void prepare_buffered_read(File& file, std::uint64_t offset, std::span<std::byte> to,
                             KiocbFlags extra_flags = KiocbFlags::none, Callback callback = nullptr,
                             void* context = nullptr) noexcept;
  void prepare_buffered_write(File& file, std::uint64_t offset, std::span<const std::byte> from,
                              KiocbFlags extra_flags = KiocbFlags::none,
                              Callback callback = nullptr, void* context = nullptr) noexcept;

  IoResult result;  // Valid from the callback on.
  Callback callback = nullptr;
  void* context = nullptr;  // The caller's.

 private:
  friend class Issuer;
  void prepare(File& file, std::uint64_t offset, IovView iov, KiocbFlags flags, Callback callback,
               void* context) noexcept;
  // Of a buffered read: its wait entry, and what brings it back to its issuer.
  struct PageWait : WaitPage {
    struct Redrive : IssuerWork {
      Aiocb* aiocb = nullptr;
    } redrive;
  };

  iovec segment_{};
  IovView iov_{};
  PageWait page_wait_;
  enum class State : std::uint8_t { idle, submitted, delivered } state_ = State::idle;
};

struct IssuerStats {
  std::uint64_t submitted = 0;
  std::uint64_t delivered = 0;
  std::uint64_t by_route[route_count] = {};
  std::uint64_t by_reason[route_reason_count] = {};
  std::uint64_t read_bytes = 0;  // Of requests that succeeded.
  std::uint64_t write_bytes = 0;
  std::uint64_t failed = 0;
  std::uint64_t pool_growths = 0;  // Times a pool had to allocate; constant after warm-up.
  std::uint64_t foreign = 0;       // Completions that arrived from other threads.
  std::uint64_t sleeps = 0;        // Times wait() slept, or looked for completions instead.
  std::uint64_t adopted = 0;       // Handed-back work of others that this issuer ran while waiting.
  std::uint64_t nudges_sent = 0;
  std::uint64_t nudges_served = 0;
};

struct IssuerOptions {
  unsigned dios_initial =
      256;  // Pool sizes; they grow by doubling when more requests are in flight.
  unsigned bios_initial = 512;
  // Settles requests without DIO_DEFER and those of handlers that must wait. Borrowed. Null:
  // WorkerPool::shared(), started by the first request that needs it.
  WorkerPool* workers = nullptr;
  // Settles nothing where the last bio ended: what comes after submission is handed back, or, for
  // a request without DIO_DEFER, goes to a worker, as the kernel did with every asynchronous write
  // up to 6.18. For measuring what that costs, and for handlers one does not trust.
  bool settle_in_task = false;
  // The signal by which a thread that drains makes this one reap its rings while it is outside the
  // library. Its handler does nothing else, and passes on signals that are not the library's; a
  // sleep of the program's own (nanosleep, poll) may end early with EINTR. It is unblocked for the
  // creating thread and must stay so. 0: no signal; then a drain waits until this thread calls the
  // library again.
  int nudge_signal = SIGURG;
  // Clock of this issuer's waits; also clock and randomness of the volumes that are formatted and
  // opened through it. Borrowed. Null: system_environment().
  Environment* environment = nullptr;
};

class Issuer {
 public:
  // Makes the calling thread's issuer. A thread may have several; each request belongs to one.
  // Errors: io (the host is out of descriptors).
  [[nodiscard]] static Result<std::unique_ptr<Issuer>> create(const IssuerOptions& options = {});

  Issuer(const Issuer&) = delete;
  Issuer& operator=(const Issuer&) = delete;
  // Waits for everything in flight and settles it; delivers what was not delivered yet.
  // A thread that ends without this has its requests settled (those that stand in line for a range:
  // canceled) and its queues closed on the way out;
  // the issuer may then be destroyed by any thread, and callbacks not entered by then never are.
  ~Issuer();

  // Starts a prepared request. Its callback runs later, from poll() or wait(), whatever happens.
  // Requires: `aiocb` was prepared and is not in flight.
  void submit(Aiocb& aiocb) noexcept;

  // Hands submitted requests to the devices now; otherwise the next poll() or wait() does.
  void kick() noexcept;

  // Reaps, settles and delivers what is ready. Returns the number of requests delivered. Never
  // sleeps.
  unsigned poll() noexcept;

  // As poll(), but sleeps until at least one request was delivered, `timeout_ns` passed (negative:
  // no limit), or nothing is in flight. Returns the number of requests delivered.
  unsigned wait(std::int64_t timeout_ns = -1) noexcept;

  // The blocking call: submits and waits for this one request; others may be delivered meanwhile.
  // Returns aiocb.result; the callback, if any, runs before. Requires: not called from a callback.
  IoResult run(Aiocb& aiocb) noexcept;

  // Requests submitted and not yet delivered.
  [[nodiscard]] std::uint64_t in_flight() const noexcept;

  [[nodiscard]] const IssuerStats& stats() const noexcept;

  // Pins `memory` for requests of this issuer, on the queues it has and will have. A hint.
  void register_buffer(std::span<std::byte> memory);
  void unregister_buffer(std::span<std::byte> memory);

  // Opens the queue to `device` now, rather than with the first request.
  [[nodiscard]] Result<void> attach(BlockDevice& device);
  // Closes the queue to `device`. Requires: nothing in flight on it. Needed before the device is
  // destroyed if the issuer lives on.
  void detach(BlockDevice& device) noexcept;

  // Runs `work` on this issuer's thread soon, in issuer context, waking the issuer if it sleeps.
  // Any thread.
  void post(IssuerWork& work) noexcept;

  // --- For files and the engines under them (library code, third-party mappers) ---

  // As post(), but a thread that waits in the library may adopt the work and run it there. For
  // whatever the settling of a request needs: others may be waiting for it while this issuer's
  // thread is elsewhere. Any thread, device context included.
  void post_adoptable(IssuerWork& work) noexcept;

  // For the ki_complete of a request that is not an Aiocb and set DIO_DEFER (a clone for a lower
  // file): call this when it is entered with NotFinal. dio_complete then runs in issuer context, as
  // for an Aiocb, and ki_complete is entered once more, with the final outcome. Any thread, device
  // context included.
  void hand_back(Kiocb& kiocb) noexcept;

  // Blocks until `done(what)` is true, reaping and settling meanwhile, here and for other issuers,
  // and delivering nothing: as a DioInflight::Drain waits, for the blocking calls of a file. `done`
  // is asked on this thread, in task or worker context, and often; it may lock a mutex of rank
  // `handler`, and must not allocate. A post() to this issuer makes it look again at once, other
  // changes are noticed within 10 ms. Task or worker context, no lock held but a drained range.
  void settle_until(bool (*done)(const void* what) noexcept, const void* what) noexcept;
  template <typename Done>
  void settle_until(const Done& done) noexcept {
    settle_until([](const void* what) noexcept { return (*static_cast<const Done*>(what))(); },
                 &done);
  }

  class Impl;
  [[nodiscard]] Impl& impl() noexcept { return *impl_; }

 private:
  Issuer() noexcept;
  std::unique_ptr<Impl> impl_;
};

// Memory for direct I/O: aligned to 4096 bytes, zero at first.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t bytes);  // Rounded up to 4096. Throws std::bad_alloc.
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  ~AlignedBuffer();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<std::byte> span() const noexcept { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace handback
