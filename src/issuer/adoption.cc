// What a waiting thread does for issuers whose threads are elsewhere: adoption and the nudge.
//
// Any waiter helps any issuer, whatever they share: what a wait hangs on may have moved on to a
// third issuer that leads a commit or has adopted something itself, and no account of that chain is
// kept. Who waits without help never gets here.
#include <array>
#include <cstddef>

#include "base/assert.h"
#include "base/planted_bug.h"
#include "issuer/issuer_impl.h"
#include "issuer/issuer_registry.h"
#include "issuer/nudge.h"
#include "issuer/trace_record.h"

namespace handback {
namespace {

[[gnu::tls_model("initial-exec")]] constinit thread_local Issuer::Impl* executor_now = nullptr;

}  // namespace

// --- executors ---

Issuer::Impl& Issuer::Impl::executor(Impl& preferred) noexcept {
  if (preferred.on_owner_thread()) [[likely]]
    return preferred;
  HB_ASSERT(executor_now != nullptr,
            "a request's completion work runs where an issuer waits or works");
  return *executor_now;
}

bool Issuer::Impl::has_executor(const Impl& preferred) noexcept {
  return preferred.on_owner_thread() || executor_now != nullptr;
}

Issuer::Impl* Issuer::Impl::of_this_thread() noexcept {
  return thread_issuers().first;
}

Issuer::Impl::ExecutorScope::ExecutorScope(Impl& impl) noexcept : previous_(executor_now) {
  executor_now = planted(PlantedBug::adoption_without_executor) ? nullptr : &impl;
}

Issuer::Impl::ExecutorScope::~ExecutorScope() {
  executor_now = previous_;
}

// --- helping ---

bool Issuer::Impl::help_others(bool nudging) noexcept {
  bool any = false;
  IssuerRegistry& registry = issuer_registry();
  std::array<Impl*, 32> batch{};
  for (std::size_t seen = 0;;) {
    const std::size_t count = registry.pin(seen, batch);
    seen += count;
    for (std::size_t i = 0; i < count; ++i) {
      Impl& other = *batch[i];
      if (&other != this) {
        if (other.on_owner_thread()) {
          any |= other.settle_ready();
        } else {
          any |= adopt(other);
          if (nudging) nudge(other);
        }
      }
      IssuerRegistry::unpin(other);
    }
    if (count < batch.size()) return any;
  }
}

bool Issuer::Impl::adopt(Impl& owner) noexcept {
  if (owner.handed_inbox_.empty() && owner.work_inbox_.empty()) return false;
  // Each batch is claimed by one exchange: the owner, or another waiter, gets none of it.
  LocalQueue<Kiocb> kiocbs = owner.handed_inbox_.take();
  LocalQueue<IssuerWork> works = owner.work_inbox_.take();
  if (kiocbs.empty() && works.empty()) return false;
  // What it starts here may have to be waited for by its owner.
  owner.set_needs_others();
  const ExecutorScope executing(*this);
  const ContextScope scope(Context::issuer);
  while (!kiocbs.empty()) {
    Kiocb& kiocb = kiocbs.pop();
    ++stats_.adopted;
    if (trace_enabled()) [[unlikely]] {
      // Others are a file's own; their memory is nobody's business here.
      const std::uint64_t length =
          kiocb.ki_complete == &Impl::kiocb_complete ? static_cast<Aiocb&>(kiocb).iov_.length() : 0;
      TraceRecord record = trace_record_of(TraceEvent::adopt, kiocb, kiocb.ki_pos, length);
      record.value = static_cast<std::uint64_t>(owner.owner_tid_);
      trace_emit(record);
    }
    const Outcome outcome = settle_handed_back(kiocb);
    if (outcome.is_final()) kiocb.ki_complete(kiocb, outcome);
  }
  while (!works.empty()) {
    IssuerWork& work = works.pop();
    ++stats_.adopted;
    if (trace_enabled()) [[unlikely]]
      trace_emit(TraceRecord{.value = static_cast<std::uint64_t>(owner.owner_tid_),
                             .event = TraceEvent::adopt});
    work.run(work);
  }
  return true;
}

bool Issuer::Impl::nudge(Impl& owner) noexcept {
  if (owner.nudge_signal_ == 0) return false;
  if (owner.in_flight() == 0 && owner.background_.load(std::memory_order_relaxed) == 0)
    return false;
  // It sleeps in the library: what its devices complete wakes it by itself.
  if (owner.wake_.sleeping()) return false;
  owner.nudge_lock_.lock();
  const bool sent = !owner.owner_gone_ && send_nudge(owner.owner_tid_, owner.nudge_signal_);
  owner.nudge_lock_.unlock();
  if (sent) {
    ++stats_.nudges_sent;
    if (trace_enabled()) [[unlikely]]
      trace_emit(TraceRecord{.value = static_cast<std::uint64_t>(owner.owner_tid_),
                             .event = TraceEvent::nudge});
  }
  return sent;
}

bool Issuer::Impl::wait_as_before() noexcept {
  switch (old_behaviour.load(std::memory_order_relaxed)) {
    case OldBehaviour::gate_blocks:
    case OldBehaviour::wait_runs_nothing: {
      const ContextScope scope(Context::device);
      for (auto& attached : queues_)
        attached.queue->poll();
      LocalQueue<IssuerWork> notifications = notify_inbox_.take();
      while (!notifications.empty())
        local_notifications_.push(notifications.pop());
      LocalQueue<IssuerWork> own = local_notifications_.take();
      while (!own.empty()) {
        IssuerWork& work = own.pop();
        work.run(work);
      }
      return true;
    }
    case OldBehaviour::wait_runs_own:
      settle_ready();
      return true;
    case OldBehaviour::deliver_while_waiting:
      settle_ready();
      deliver_ready();
      return true;
    default:
      return false;
  }
}

void Issuer::Impl::serve_nudge() noexcept {
  ++stats_.nudges_served;
  {
    const ContextScope scope(Context::device);
    for (auto& attached : queues_)
      attached.queue->poll();
  }
  // Not from here, in the middle of the program's own code: whoever nudged takes it.
  while (!handed_back_.empty())
    handed_inbox_.push(handed_back_.pop());
  while (!local_work_.empty())
    work_inbox_.push(local_work_.pop());
}

}  // namespace handback
