// What files and engines use of an Issuer: its queues, its pools, posting, and the one wait.
//
// Owner: Issuer. Thread class: the owning thread, except what says "any thread".
// Order of one turn (settle_ready): reap the devices, take what other threads pushed, run what was
// handed back, run posted work. Delivery is separate: only poll() and wait() deliver.
//
// What others may take while the owner is elsewhere lies in two shared inboxes, handed-back
// requests and adoptable work; each batch is claimed by one exchange. What only the owner may have
// lies in two more: settled requests, and notifications of its own waits. The rest is the owner's
// alone, guarded against its own signal handler by the shield (base/shield.h).
#pragma once

#include <handback/environment.h>
#include <handback/issuer.h>
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/context.h"
#include "base/leaf_lock.h"
#include "base/old_behaviour.h"
#include "base/shield.h"
#include "issuer/in_line.h"
#include "issuer/inbox.h"
#include "issuer/poll_hook.h"
#include "issuer/slab_pool.h"
#include "issuer/wake.h"

namespace handback {

// Room for one engine's record of a request, with its first bio in it.
inline constexpr std::size_t dio_record_bytes = 640;
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
  void* take_dio_record() noexcept {
    const ShieldScope shield;
    return dio_pool_.take();
  }
  void give_back_dio_record(void* record) noexcept {
    const ShieldScope shield;
    dio_pool_.give_back(record);
  }
  // Takes room for a bio from the pool. Null when the host is out of memory. give_back: any thread.
  void* take_bio_record() noexcept {
    const ShieldScope shield;
    return bio_pool_.take();
  }
  void give_back_bio_record(void* record) noexcept {
    const ShieldScope shield;
    bio_pool_.give_back(record);
  }

  // --- the one wait ---
  // Reaps and settles what is ready, without delivering. Never sleeps. True if anything happened.
  bool settle_ready() noexcept;

  // Blocks in task context until `done()` is true, reaping and settling (never delivering)
  // meanwhile. `done` must become true through something that runs on this issuer or that calls
  // wake().
  // For what needs nobody but this issuer and its devices.
  template <typename Predicate>
  void wait_until(Predicate done) noexcept {
    assert_owner();
    check_may_wait();
    const ShieldScope shield;
    while (!done()) {
      if (!settle_ready() && !done()) sleep(-1, done);
    }
  }

  // The same for what may hang on other issuers: adopts what they have been handed back, and nudges
  // those that are outside the library with I/O in flight. This is the wait of every drain, freeze,
  // sync and close.
  template <typename Predicate>
  void wait_until_helped(Predicate done) noexcept {
    assert_owner();
    check_may_wait();
    const ShieldScope shield;
    Patience patience;
    while (!done()) {
      if (old_behaviour.load(std::memory_order_relaxed) != OldBehaviour::none) [[unlikely]] {
        if (wait_as_before()) {
          if (!done()) sleep(patience.next_sleep_ns(), done);
          continue;
        }
      }
      if (settle_ready() || help_others(patience.exhausted())) {
        patience = Patience{};
        continue;
      }
      if (!done()) sleep(patience.next_sleep_ns(), done);
    }
  }

  // One look at all other issuers: adopts, and with `nudging` nudges. True if anything was run.
  bool help_others(bool nudging) noexcept;
  // From now on something of this issuer's may hang on others: its waits help them.
  void set_needs_others() noexcept { needs_others_.store(true, std::memory_order_relaxed); }

  // What stands in line for ranges and is to be canceled if this thread ends.
  [[nodiscard]] InLineList& in_line() noexcept { return in_line_; }

  // --- executors ---
  // The issuer whose rings and pools code running now may use for a request of `preferred`'s: that
  // one on its own thread, else the one that this thread waits or works with.
  [[nodiscard]] static Impl& executor(Impl& preferred) noexcept;
  // Whether there is one.
  [[nodiscard]] static bool has_executor(const Impl& preferred) noexcept;
  // An issuer of the calling thread, or null.
  [[nodiscard]] static Impl* of_this_thread() noexcept;

  // Makes `impl` this thread's executor for a scope.
  class ExecutorScope {
   public:
    explicit ExecutorScope(Impl& impl) noexcept;
    ExecutorScope(const ExecutorScope&) = delete;
    ExecutorScope& operator=(const ExecutorScope&) = delete;
    ~ExecutorScope();

   private:
    Impl* previous_;
  };

  // Submits bios to `device` through this issuer. False if the queue cannot be opened.
  bool submit_bios(BlockDevice& device, Bio* chain) noexcept;

  // The pool for what cannot be handed back; null if it cannot be started. Task context.
  [[nodiscard]] WorkerPool* workers() noexcept;

  // --- any thread ---
  // Runs `work` once in issuer context, here or on a thread that adopts it.
  void post(IssuerWork& work) noexcept;
  // Runs `work` once in issuer context on the owning thread and nowhere else: for what lies on the
  // stack of one of its waits.
  void notify(IssuerWork& work) noexcept;
  void wake() noexcept;
  // Puts a request whose dio_complete is to be called where this issuer, or an adopter, finds it.
  void hand_back(Kiocb& kiocb) noexcept;
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
  [[nodiscard]] std::uint64_t in_flight() const noexcept {
    return in_flight_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] const IssuerStats& stats() noexcept;
  [[nodiscard]] Environment& environment() const noexcept { return *environment_; }
  [[nodiscard]] bool settles_in_task() const noexcept { return settle_in_task_; }
  void kick() noexcept;

  // Reaps the rings and publishes what that handed back. Called by the shield on the owning thread,
  // in a signal handler or when the thread leaves the library.
  void serve_nudge() noexcept;

 private:
  friend struct ThreadIssuers;
  friend struct IssuerRegistry;

  // How long a helped wait sleeps between two looks at the others, and when it starts to nudge.
  struct Patience {
    std::int64_t sleep_ns = 50'000;
    [[nodiscard]] bool exhausted() const noexcept { return sleep_ns > 100'000; }
    std::int64_t next_sleep_ns() noexcept {
      const std::int64_t now = sleep_ns;
      sleep_ns = now < 5'000'000 ? now * 2 : 10'000'000;
      return now;
    }
  };

  struct AttachedQueue {
    BlockDevice* device;
    std::unique_ptr<BlockQueue> queue;
  };

  static Outcome settle_handed_back(Kiocb& kiocb) noexcept;
  bool run_handed_back() noexcept;
  bool run_work() noexcept;
  bool take_foreign() noexcept;
  // Claims what `owner` has published and runs it here.
  bool adopt(Impl& owner) noexcept;
  bool nudge(Impl& owner) noexcept;
  void push_in_flight(std::int64_t change) noexcept {
    in_flight_.store(in_flight() + static_cast<std::uint64_t>(change), std::memory_order_relaxed);
  }
  bool help_if_stuck() noexcept;
  // One turn of a wait with an OldBehaviour; false if that one waits as ever.
  bool wait_as_before() noexcept;
  void leave_thread() noexcept;
  std::int64_t run_hooks() noexcept;
  unsigned deliver_ready() noexcept;
  void deliver(Aiocb& aiocb) noexcept;
  void accept_final(Aiocb& aiocb, IoResult result) noexcept;
  static void arm_for_redrive(Aiocb& aiocb) noexcept;
  static void redrive(IssuerWork& work) noexcept;
  [[nodiscard]] bool nothing_ready() const noexcept;
  [[nodiscard]] bool inboxes_empty() const noexcept {
    return handed_inbox_.empty() && settled_inbox_.empty() && work_inbox_.empty() &&
           notify_inbox_.empty();
  }

  template <typename Predicate>
  void sleep(std::int64_t timeout_ns, Predicate abandoned) noexcept {
    wake_.announce_sleep();
    const bool look = !behaves_as_before(OldBehaviour::sleep_without_look);
    if (!look || (inboxes_empty() && !abandoned())) sleep_in_queue(timeout_ns);
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
  std::uint64_t deliverable_count_ = 0;
  LocalQueue<IssuerWork> local_work_;
  LocalQueue<IssuerWork> local_notifications_;
  SharedInbox<Kiocb> handed_inbox_;       // NotFinal. Whoever waits may take it.
  SharedInbox<IssuerWork> work_inbox_;    // The same.
  SharedInbox<Kiocb> settled_inbox_;      // Final. The owner's.
  SharedInbox<IssuerWork> notify_inbox_;  // The owner's.
  // Threads inside post(), kiocb_complete() and the like, or helping; they still touch *this.
  std::atomic<unsigned> posters_{0};

  InLineList in_line_;
  std::vector<std::shared_ptr<PollHook>> hooks_;
  std::atomic<std::uint64_t> in_flight_{0};  // Written by the owner alone.
  std::atomic<std::uint64_t> background_{0};
  std::atomic<bool> needs_others_{false};
  std::uint64_t stuck_since_ns_ = 0;  // 0: it is not.
  Patience stuck_patience_;
  bool delivering_ = false;
  const bool settle_in_task_;
  Environment* const environment_;
  WorkerPool* workers_;

  // How to reach the owning thread. The lock keeps its id from being reused while it is signalled.
  LeafLock nudge_lock_;
  int nudge_signal_;
  int owner_tid_;
  bool owner_gone_ = false;

  Impl* registry_previous_ = nullptr;  // IssuerRegistry's.
  Impl* registry_next_ = nullptr;
  Impl* thread_next_ = nullptr;  // ThreadIssuers'.
  IssuerStats stats_;
};

}  // namespace handback
