#include "issuer/issuer_impl.h"

#include <handback/worker_pool.h>

#include <poll.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <thread>

#include "base/assert.h"
#include "base/planted_bug.h"
#include "issuer/issuer_registry.h"
#include "issuer/nudge.h"
#include "issuer/trace_record.h"

namespace handback {
namespace {
constexpr std::size_t queues_max = 16;
// Of a sleep on several queues: a queue may have to look at its clock (deadline_device.h), and a
// thread that sleeps here has I/O in flight, so it seldom sleeps for so long.
constexpr std::int64_t common_sleep_ns_max = 100'000'000;
}  // namespace

Issuer::Impl::Impl(Issuer& self_when_made, int event_fd, const IssuerOptions& options)
    : self_(&self_when_made),
      owner_(thread_token()),
      wake_(event_fd),
      dio_pool_(std::max(1U, options.dios_initial)),
      bio_pool_(std::max(1U, options.bios_initial)),
      settle_in_task_(options.settle_in_task),
      environment_(options.environment != nullptr ? options.environment : &system_environment()),
      workers_(options.workers),
      nudge_signal_(options.nudge_signal),
      owner_tid_(current_tid()) {
  queues_.reserve(queues_max);
  shield_state.serve = []() noexcept {
    for (Impl* impl = thread_issuers().first; impl != nullptr; impl = impl->thread_next_)
      impl->serve_nudge();
  };
  thread_issuers().add(*this);
  issuer_registry().add(*this);
}

Issuer::Impl::~Impl() {
  if (!owner_gone_) {
    assert_owner();
    const ShieldScope shield;
    // Until all is quiet: what is delivered last may have posted or submitted again.
    do {
      wait_until_helped([this] { return background_ == 0 && nothing_ready(); });
      set_needs_others();
      if (in_flight() != 0) wait(-1);
    } while (in_flight() != 0 || background_ != 0 || !nothing_ready());
    thread_issuers().remove(*this);
  }
  issuer_registry().remove(*this);
  // A thread that pushed the last completion may still be on its way out of post().
  while (posters_.load(std::memory_order_acquire) != 0)
    std::this_thread::yield();
}

// The thread ends before the issuer: everything in flight is settled, what stands in line is
// canceled, and what nobody will deliver stays where it is.
void Issuer::Impl::leave_thread() noexcept {
  const ShieldScope shield;
  wait_until_helped([this] {
    {
      const ExecutorScope executing(*this);
      const ContextScope scope(Context::issuer);
      in_line_.cancel_all();
    }
    return in_flight() == deliverable_count_ && background_ == 0 && nothing_ready();
  });
  // Queues are for their own thread, their end included.
  queues_.clear();
  last_device_ = nullptr;
  last_queue_ = nullptr;
  nudge_lock_.lock();
  owner_gone_ = true;
  nudge_lock_.unlock();
}

void Issuer::Impl::assert_owner() const noexcept {
  HB_ASSERT(on_owner_thread(), "an issuer is used only by the thread that created it");
}

void Issuer::Impl::end_background() noexcept {
  posters_.fetch_add(1, std::memory_order_relaxed);
  const std::uint64_t before = background_.fetch_sub(1, std::memory_order_seq_cst);
  HB_ASSERT(before > 0, "background work that ends was begun");
  if (!on_owner_thread()) wake_.wake();
  posters_.fetch_sub(1, std::memory_order_release);
}

// --- devices ---

BlockQueue* Issuer::Impl::queue_for(BlockDevice& device, Error* error) noexcept {
  if (last_device_ == &device) [[likely]]
    return last_queue_;
  for (auto& attached : queues_) {
    if (attached.device == &device) {
      last_device_ = &device;
      last_queue_ = attached.queue.get();
      return last_queue_;
    }
  }
  if (queues_.size() == queues_max) {
    if (error != nullptr)
      *error = Error(Errc::too_large, "an issuer serves at most 16 devices; detach one");
    return nullptr;
  }
  const ShieldScope shield;
  auto opened = device.open_queue(wake_.event_fd());
  if (!opened) {
    if (error != nullptr) *error = std::move(opened.error());
    return nullptr;
  }
  if (auto* registers = dynamic_cast<RegistersBuffers*>(opened->get()); registers != nullptr) {
    for (const auto& memory : buffers_)
      registers->register_buffer(memory);
  }
  queues_.push_back({&device, std::move(*opened)});
  last_device_ = &device;
  last_queue_ = queues_.back().queue.get();
  return last_queue_;
}

void Issuer::Impl::detach(BlockDevice& device) noexcept {
  assert_owner();
  // Commits that this issuer leads, and what it adopted, may have I/O there.
  if (background_ != 0) wait_until_helped([this] { return background_ == 0; });
  std::erase_if(queues_, [&](const AttachedQueue& attached) { return attached.device == &device; });
  last_device_ = nullptr;
  last_queue_ = nullptr;
}

void Issuer::Impl::register_buffer(std::span<std::byte> memory) {
  assert_owner();
  buffers_.push_back(memory);
  for (auto& attached : queues_) {
    if (auto* registers = dynamic_cast<RegistersBuffers*>(attached.queue.get());
        registers != nullptr) {
      registers->register_buffer(memory);
    }
  }
}

void Issuer::Impl::unregister_buffer(std::span<std::byte> memory) {
  assert_owner();
  std::erase_if(buffers_, [&](const auto& known) { return known.data() == memory.data(); });
  for (auto& attached : queues_) {
    if (auto* registers = dynamic_cast<RegistersBuffers*>(attached.queue.get());
        registers != nullptr) {
      registers->unregister_buffer(memory);
    }
  }
}

void Issuer::Impl::kick() noexcept {
  assert_owner();
  for (auto& attached : queues_)
    attached.queue->kick();
}

// --- requests ---

void Issuer::Impl::submit(Aiocb& aiocb) noexcept {
  assert_owner();
  check_may(Acts::submit);
  HB_ASSERT(aiocb.ki_filp != nullptr && aiocb.state_ != Aiocb::State::submitted,
            "an Aiocb is prepared, and not in flight, when it is submitted");
  aiocb.state_ = Aiocb::State::submitted;
  aiocb.issuer = self_;
  aiocb.ki_complete = &Impl::kiocb_complete;
  // A reused Kiocb may carry the handler of its former life.
  if (!behaves_as_before(OldBehaviour::slot_stays)) aiocb.clear_slot();
  aiocb.route = Route::none;
  aiocb.route_reason = RouteReason::none;
  if (has(aiocb.ki_flags, KiocbFlags::waitq)) arm_for_redrive(aiocb);
  push_in_flight(1);
  ++stats_.submitted;
  const Outcome outcome = aiocb.is_write() ? aiocb.ki_filp->write_iter(aiocb, aiocb.iov_)
                                           : aiocb.ki_filp->read_iter(aiocb, aiocb.iov_);
  if (outcome.is_final()) {
    accept_final(aiocb, outcome.result());
  }
}

// The wait entry of a buffered read is the Aiocb's own, and its wake-up brings the read back here.
void Issuer::Impl::arm_for_redrive(Aiocb& aiocb) noexcept {
  Aiocb::PageWait& wait = aiocb.page_wait_;
  wait.reset();
  wait.owner = &aiocb;
  wait.wake = [](WaitPage& woken) noexcept {
    Aiocb& waiting = *static_cast<Aiocb*>(woken.owner);
    waiting.issuer->impl().notify(waiting.page_wait_.redrive);
  };
  wait.redrive.aiocb = &aiocb;
  wait.redrive.run = &Impl::redrive;
  aiocb.set_ki_waitq(&wait);
}

// A page that the read has waited for has come: it goes on, with what it has copied remembered in
// its wait entry.
void Issuer::Impl::redrive(IssuerWork& work) noexcept {
  Aiocb& aiocb = *static_cast<Aiocb::PageWait::Redrive&>(work).aiocb;
  const Outcome outcome = aiocb.ki_filp->read_iter(aiocb, aiocb.iov_);
  if (!outcome.is_final()) return;
  aiocb.route = Route::issuer;
  aiocb.route_reason = RouteReason::cached_pages;
  aiocb.issuer->impl().accept_final(aiocb, outcome.result());
}

void Issuer::Impl::accept_final(Aiocb& aiocb, IoResult result) noexcept {
  aiocb.result = result;
  if (aiocb.route == Route::none) {
    // Refused, or ended, before anything was submitted for it.
    aiocb.route = Route::submit;
    aiocb.route_reason = result.ok() ? RouteReason::submit_ended : RouteReason::error;
  }
  deliverable_.push(aiocb);
  ++deliverable_count_;
}

void Issuer::Impl::kiocb_complete(Kiocb& kiocb, Outcome outcome) noexcept {
  Impl& impl = kiocb.issuer->impl();
  auto& aiocb = static_cast<Aiocb&>(kiocb);
  if (!outcome.is_final()) {
    impl.hand_back(kiocb);
    return;
  }
  if (impl.on_owner_thread()) [[likely]] {
    const ShieldScope shield;
    impl.accept_final(aiocb, outcome.result());
    return;
  }
  impl.posters_.fetch_add(1, std::memory_order_relaxed);
  aiocb.result = outcome.result();
  impl.settled_inbox_.push(kiocb);
  impl.wake_.wake();
  impl.posters_.fetch_sub(1, std::memory_order_release);
}

void Issuer::Impl::hand_back(Kiocb& kiocb) noexcept {
  if (on_owner_thread()) [[likely]] {
    const ShieldScope shield;
    handed_back_.push(kiocb);
    return;
  }
  posters_.fetch_add(1, std::memory_order_relaxed);
  handed_inbox_.push(kiocb);
  wake_.wake();
  posters_.fetch_sub(1, std::memory_order_release);
}

void Issuer::Impl::post(IssuerWork& work) noexcept {
  if (on_owner_thread()) {
    const ShieldScope shield;
    local_work_.push(work);
    return;
  }
  posters_.fetch_add(1, std::memory_order_relaxed);
  work_inbox_.push(work);
  wake_.wake();
  posters_.fetch_sub(1, std::memory_order_release);
}

void Issuer::Impl::notify(IssuerWork& work) noexcept {
  if (on_owner_thread()) {
    const ShieldScope shield;
    local_notifications_.push(work);
    return;
  }
  posters_.fetch_add(1, std::memory_order_relaxed);
  notify_inbox_.push(work);
  wake_.wake();
  posters_.fetch_sub(1, std::memory_order_release);
}

void Issuer::Impl::wake() noexcept {
  if (on_owner_thread()) return;
  posters_.fetch_add(1, std::memory_order_relaxed);
  wake_.wake();
  posters_.fetch_sub(1, std::memory_order_release);
}

Outcome Issuer::Impl::settle_handed_back(Kiocb& kiocb) noexcept {
  const DioComplete handler = kiocb.dio_complete();
  HB_ASSERT(handler != nullptr, "a request that is handed back carries its handler");
  return handler(kiocb);
}

bool Issuer::Impl::run_handed_back() noexcept {
  if (handed_back_.empty()) return false;
  const ContextScope scope(Context::issuer);
  LocalQueue<Kiocb> batch = handed_back_.take();
  while (!batch.empty()) {
    Kiocb& kiocb = batch.pop();
    const Outcome outcome = settle_handed_back(kiocb);
    if (!outcome.is_final()) continue;
    if (kiocb.ki_complete == &Impl::kiocb_complete) [[likely]] {
      accept_final(static_cast<Aiocb&>(kiocb), outcome.result());
    } else {
      kiocb.ki_complete(kiocb, outcome);
    }
  }
  return true;
}

bool Issuer::Impl::run_work() noexcept {
  if (local_work_.empty() && local_notifications_.empty()) return false;
  const ContextScope scope(Context::issuer);
  // What the work wakes here, a buffered read whose page has come, goes on in the next turn: after
  // another look at the devices, which finds what has ended meanwhile, so that what these reads
  // start next is handed over together.
  LocalQueue<IssuerWork> notifications = local_notifications_.take();
  LocalQueue<IssuerWork> batch = local_work_.take();
  while (!notifications.empty()) {
    IssuerWork& work = notifications.pop();
    work.run(work);
  }
  while (!batch.empty()) {
    IssuerWork& work = batch.pop();
    work.run(work);
  }
  return true;
}

bool Issuer::Impl::take_foreign() noexcept {
  if (inboxes_empty()) [[likely]]
    return false;
  LocalQueue<Kiocb> settled = settled_inbox_.take();
  LocalQueue<Kiocb> handed = handed_inbox_.take();
  LocalQueue<IssuerWork> works = work_inbox_.take();
  LocalQueue<IssuerWork> notifications = notify_inbox_.take();
  while (!settled.empty()) {
    auto& aiocb = static_cast<Aiocb&>(settled.pop());
    ++stats_.foreign;
    accept_final(aiocb, aiocb.result);
  }
  while (!handed.empty()) {
    ++stats_.foreign;
    handed_back_.push(handed.pop());
  }
  while (!works.empty())
    local_work_.push(works.pop());
  while (!notifications.empty())
    local_notifications_.push(notifications.pop());
  return true;
}

bool Issuer::Impl::settle_ready() noexcept {
  const ShieldScope shield;
  bool any = false;
  {
    const ContextScope scope(Context::device);
    for (auto& attached : queues_)
      any |= attached.queue->poll() != 0;
  }
  any |= take_foreign();
  const ExecutorScope executing(*this);
  any |= run_handed_back();
  any |= run_work();
  if (planted(PlantedBug::deliver_in_a_drain)) deliver_ready();
  return any;
}

bool Issuer::Impl::submit_bios(BlockDevice& device, Bio* chain) noexcept {
  assert_owner();
  check_may(Acts::submit);
  const ShieldScope shield;
  BlockQueue* queue = queue_for(device);
  if (queue == nullptr) return false;
  queue->submit(chain);
  return true;
}

WorkerPool* Issuer::Impl::workers() noexcept {
  if (workers_ == nullptr) [[unlikely]] {
    auto shared = WorkerPool::shared();
    if (shared) workers_ = *shared;
  }
  return workers_;
}

std::int64_t Issuer::Impl::run_hooks() noexcept {
  std::int64_t soonest = std::numeric_limits<std::int64_t>::max();
  // No clock and no lock for requests that leave nothing to do.
  if (std::all_of(hooks_.begin(), hooks_.end(),
                  [](const std::shared_ptr<PollHook>& hook) { return hook->idle(); })) [[likely]]
    return soonest;
  const ContextScope scope(Context::issuer);
  const std::uint64_t now = environment_->monotonic_ns();
  std::erase_if(hooks_, [&](const std::shared_ptr<PollHook>& hook) {
    if (hook->idle()) return false;
    const std::int64_t due = hook->run(*self_, now);
    if (due >= 0) soonest = std::min(soonest, due);
    return due < 0;
  });
  return soonest;
}

bool Issuer::Impl::nothing_ready() const noexcept {
  return handed_back_.empty() && local_work_.empty() && local_notifications_.empty() &&
         inboxes_empty();
}

// Something of this issuer's may hang on another one: after a while without any progress it helps.
bool Issuer::Impl::help_if_stuck() noexcept {
  const std::uint64_t now = environment_->monotonic_ns();
  if (stuck_since_ns_ == 0) {
    stuck_since_ns_ = now;
    return false;
  }
  if (now - stuck_since_ns_ < static_cast<std::uint64_t>(stuck_patience_.sleep_ns)) return false;
  stuck_since_ns_ = now;
  const bool nudging = stuck_patience_.exhausted();
  stuck_patience_.next_sleep_ns();
  return help_others(nudging);
}

unsigned Issuer::Impl::poll() noexcept {
  assert_owner();
  if (settle_ready()) {
    stuck_since_ns_ = 0;
  } else if (needs_others_.load(std::memory_order_relaxed)) [[unlikely]] {
    if (in_flight() != 0 && current_context() != Context::device && help_if_stuck()) settle_ready();
  }
  run_hooks();
  return deliver_ready();
}

unsigned Issuer::Impl::wait(std::int64_t timeout_ns) noexcept {
  assert_owner();
  check_may_wait();
  HB_ASSERT(!delivering_, "a callback may not block; submit and return instead");
  const std::uint64_t start = timeout_ns > 0 ? environment_->monotonic_ns() : 0;
  stuck_patience_ = Patience{.sleep_ns = 400'000};
  stuck_since_ns_ = 0;
  for (;;) {
    // Before anything else: requests that end while they are submitted never leave a thing to wait
    // for.
    const std::int64_t hook_due = run_hooks();
    if (!deliverable_.empty()) return deliver_ready();
    if (in_flight() == 0 && background_ == 0 && nothing_ready()) return 0;
    if (nothing_ready()) {
      std::int64_t limit = timeout_ns;
      if (timeout_ns > 0) {
        const auto passed = static_cast<std::int64_t>(environment_->monotonic_ns() - start);
        limit = std::max<std::int64_t>(0, timeout_ns - passed);
      }
      if (hook_due != std::numeric_limits<std::int64_t>::max()) {
        limit = limit < 0 ? hook_due : std::min(limit, hook_due);
      }
      const bool may_help = needs_others_.load(std::memory_order_relaxed);
      if (may_help) [[unlikely]] {
        limit = limit < 0 ? stuck_patience_.sleep_ns : std::min(limit, stuck_patience_.sleep_ns);
      }
      // Straight to the sleep: it also hands over what was submitted, so that a batch is one system
      // call.
      if (limit != 0) sleep(limit, [this] { return in_flight() == 0 && background_ == 0; });
    }
    if (settle_ready()) {
      stuck_since_ns_ = 0;
    } else if (needs_others_.load(std::memory_order_relaxed)) {
      help_if_stuck();
      settle_ready();
    }
    if (!deliverable_.empty()) return deliver_ready();
    if (timeout_ns == 0) return 0;
    if (timeout_ns > 0 &&
        static_cast<std::int64_t>(environment_->monotonic_ns() - start) >= timeout_ns)
      return 0;
  }
}

void Issuer::Impl::sleep_in_queue(std::int64_t timeout_ns) noexcept {
  ++stats_.sleeps;
  if (queues_.size() == 1) {
    queues_.front().queue->wait(timeout_ns);
    return;
  }
  std::array<pollfd, queues_max + 1> fds{};
  nfds_t count = 0;
  unsigned ended = 0;
  fds[count++] = pollfd{wake_.event_fd(), POLLIN, 0};
  for (auto& attached : queues_) {
    BlockQueue& queue = *attached.queue;
    queue.kick();
    // Asked once per sleep: asking has effects (block_device.h).
    const int fd = queue.wait_fd();
    if (fd >= 0) {
      fds[count++] = pollfd{fd, POLLIN, 0};
    } else {
      // Devices that complete within submit() have no descriptor; what they ended is found here.
      const ContextScope scope(Context::device);
      ended += queue.poll();
    }
  }
  if (ended != 0) return;
  if (!queues_.empty() && (timeout_ns < 0 || timeout_ns > common_sleep_ns_max))
    timeout_ns = common_sleep_ns_max;
  timespec limit{};
  if (timeout_ns >= 0) {
    limit.tv_sec = timeout_ns / 1'000'000'000;
    limit.tv_nsec = timeout_ns % 1'000'000'000;
  }
  ::ppoll(fds.data(), count, timeout_ns >= 0 ? &limit : nullptr, nullptr);
}

// --- delivery ---

unsigned Issuer::Impl::deliver_ready() noexcept {
  if (deliverable_.empty() || delivering_) return 0;
  HB_ASSERT(current_context() == Context::task || current_context() == Context::worker,
            "results are delivered in the user's own task context");
  delivering_ = true;
  // Only what is ready now: a callback that submits again must not keep this turn going for ever.
  LocalQueue<Kiocb> batch = deliverable_.take();
  unsigned count = 0;
  while (!batch.empty()) {
    --deliverable_count_;
    deliver(static_cast<Aiocb&>(batch.pop()));
    ++count;
  }
  if (in_flight() == 0) needs_others_.store(false, std::memory_order_relaxed);
  delivering_ = false;
  return count;
}

void Issuer::Impl::deliver(Aiocb& aiocb) noexcept {
  HB_ASSERT(aiocb.state_ == Aiocb::State::submitted, "each request is delivered exactly once");
  push_in_flight(-1);
  ++stats_.delivered;
  ++stats_.by_route[static_cast<unsigned>(aiocb.route)];
  ++stats_.by_reason[static_cast<unsigned>(aiocb.route_reason)];
  if (aiocb.result.ok()) {
    (aiocb.is_write() ? stats_.write_bytes : stats_.read_bytes) += aiocb.result.bytes();
  } else {
    ++stats_.failed;
  }
  if (trace_enabled()) [[unlikely]] {
    TraceRecord record =
        trace_record_of(TraceEvent::deliver, aiocb, aiocb.ki_pos, aiocb.iov_.length());
    record.value = std::bit_cast<std::uint64_t>(aiocb.result);
    trace_emit(record);
  }
  aiocb.state_ = Aiocb::State::delivered;
  // From here on the Aiocb is its owner's again, who may reuse or destroy it.
  if (aiocb.callback != nullptr && !planted(PlantedBug::delivered_without_callback)) {
    check_may(Acts::user_code);
    const ShieldLowered lowered;
    aiocb.callback(aiocb);
  }
}

IoResult Issuer::Impl::run(Aiocb& aiocb) noexcept {
  HB_ASSERT(!delivering_, "a callback may not block; submit and return instead");
  submit(aiocb);
  while (aiocb.state_ != Aiocb::State::delivered)
    wait(-1);
  return aiocb.result;
}

const IssuerStats& Issuer::Impl::stats() noexcept {
  stats_.pool_growths = dio_pool_.growths() + bio_pool_.growths();
  return stats_;
}

}  // namespace handback
