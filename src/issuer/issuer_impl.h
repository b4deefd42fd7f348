// What files and engines use of an Issuer: its queues, its pools, posting, and the one wait.
//
// Owner: Issuer. Thread class: the owning thread, except what says "any thread".
// Order of one turn (settle_ready): reap the devices, run what was handed back here, take what
// other threads pushed, run posted work. Delivery is separate: only poll() and wait() deliver.
#pragma once

#include <handback/issuer.h>
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/context.h"
#include "issuer/inbox.h"
#include "issuer/poll_hook.h"
#include "issuer/slab_pool.h"
#include "issuer/wake.h"

namespace handback {

// Room for one engine's record of a request, with its first bio in it.
inline constexpr std::size_t dio_record_bytes = 448;
// Room for a bio and what its engine keeps with it.
inline constexpr std::size_t bio_record_bytes = sizeof(Bio) + 16;

class Issuer::Impl {
 public:
  Impl(Issuer& self_when_made, int event_fd, const IssuerOptions& options);
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  // --- requests ---
  void submit(Aiocb& aiocb) noexcept;
  unsigned poll() noexcept;
  unsigned wait(std::int64_t timeout_ns) noexcept;
  IoResult run(Aiocb& aiocb) noexcept;

  // --- devices ---
  // The queue to `device`, opened at first use. Null (with *error set, if given) if it cannot be
  // opened.
  BlockQueue* queue_for(BlockDevice& device, Error* error = nullptr) noexcept;
  void detach(BlockDevice& device) noexcept;
  void register_buffer(std::span<std::byte> memory);
  void unregister_buffer(std::span<std::byte> memory);

  // Takes a record from the pool. Null when the host is out of memory. give_back: any thread.
  void* take_dio_record() noexcept { return dio_pool_.take(); }
  void give_back_dio_record(void* record) noexcept { dio_pool_.give_back(record); }
  // Takes room for a bio from the pool. Null when the host is out of memory. give_back: any thread.
  void* take_bio_record() noexcept { return bio_pool_.take(); }
  void give_back_bio_record(void* record) noexcept { bio_pool_.give_back(record); }

  // --- the one wait ---
  // Reaps and settles what is ready, without delivering. Never sleeps. True if anything happened.
  bool settle_ready() noexcept;

  // Blocks in task context until `done()` is true, reaping and settling (never delivering)
  // meanwhile. `done` must become true through something that runs on this issuer or that calls
  // wake().
  template <typename Predicate>
  void wait_until(Predicate done) noexcept {
    assert_owner();
    assert_may_wait_for_io();
    while (!done()) {
      if (!settle_ready() && !done()) sleep(-1, done);
    }
  }

  // --- any thread ---
  void post(IssuerWork& work) noexcept;
  void wake() noexcept;
  // The ki_complete of every Aiocb.
  static void kiocb_complete(Kiocb& kiocb, Outcome outcome) noexcept;

  [[nodiscard]] bool on_owner_thread() const noexcept { return owner_ == thread_token(); }
  void assert_owner() const noexcept;

  // Library work (a commit, a checkpoint) that this issuer leads and must see through before it
  // goes. Any thread may end it: leadership can move on.
  void begin_background() noexcept { background_.fetch_add(1, std::memory_order_relaxed); }
  void end_background() noexcept;

  void add_hook(std::shared_ptr<PollHook> hook) { hooks_.push_back(std::move(hook)); }

  [[nodiscard]] Issuer& self() noexcept { return *self_; }
  void set_self(Issuer& self) noexcept { self_ = &self; }
  [[nodiscard]] std::uint64_t in_flight() const noexcept { return in_flight_; }
  [[nodiscard]] const IssuerStats& stats() noexcept;
  [[nodiscard]] bool tracing() const noexcept { return trace_ != nullptr; }
  void kick() noexcept;

 private:
  struct AttachedQueue {
    BlockDevice* device;
    std::unique_ptr<BlockQueue> queue;
  };

  bool run_handed_back() noexcept;
  bool take_foreign() noexcept;
  std::int64_t run_hooks() noexcept;
  unsigned deliver_ready() noexcept;
  void deliver(Aiocb& aiocb) noexcept;
  void accept_final(Aiocb& aiocb, IoResult result) noexcept;
  void flush_trace() noexcept;
  [[nodiscard]] bool nothing_ready() const noexcept;

  template <typename Predicate>
  void sleep(std::int64_t timeout_ns, Predicate abandoned) noexcept {
    wake_.announce_sleep();
    if (foreign_kiocbs_.empty() && foreign_work_.empty() && !abandoned())
      sleep_in_queue(timeout_ns);
    wake_.end_sleep();
  }
  void sleep_in_queue(std::int64_t timeout_ns) noexcept;

  Issuer* self_;
  const void* owner_;
  Wake wake_;
  std::vector<AttachedQueue> queues_;
  BlockDevice* last_device_ = nullptr;
  BlockQueue* last_queue_ = nullptr;
  std::vector<std::span<std::byte>> buffers_;

  SlabPool<dio_record_bytes> dio_pool_;
  SlabPool<bio_record_bytes> bio_pool_;

  LocalQueue<Kiocb> handed_back_;  // NotFinal: dio_complete is to be called.
  LocalQueue<Kiocb> deliverable_;  // Final.
  SharedInbox<Kiocb> foreign_kiocbs_;
  SharedInbox<IssuerWork> foreign_work_;
  LocalQueue<IssuerWork> local_work_;
  std::atomic<unsigned> posters_{
      0};  // Threads inside post() or kiocb_complete(); they still touch *this.

  std::vector<std::shared_ptr<PollHook>> hooks_;
  std::uint64_t in_flight_ = 0;
  std::atomic<std::uint64_t> background_{0};
  bool delivering_ = false;
  IssuerStats stats_;
  TraceSink* trace_;
  std::vector<TraceRecord> trace_records_;
};

// Monotonic time, for traces and intervals.
[[nodiscard]] std::uint64_t monotonic_ns() noexcept;

}  // namespace handback
