#include "pagecache/cache_task.h"

namespace handback {

CacheTask::CacheTask(Issuer::Impl& own, Step what, Ended then) noexcept
    : issuer(&own), step(what), ended(then) {
  work_.task = this;
  work_.run = &CacheTask::work_came;
  wait.owner = this;
  wait.wake = [](WaitPage& woken) noexcept { static_cast<CacheTask*>(woken.owner)->go_on(); };
}

Outcome CacheTask::run() noexcept {
  const bool sync = is_sync();
  Issuer::Impl& own = *issuer;
  for (;;) {
    const Outcome outcome = step(*this);
    if (outcome.is_final()) return outcome;
    own.set_needs_others();
    if (!sync) return NotFinal{};
    own.wait_until_helped([this] { return came_; });
    came_ = false;
  }
}

void CacheTask::go_on() noexcept {
  if (is_sync()) {
    issuer->notify(work_);
  } else {
    issuer->post(work_);
  }
}

void CacheTask::work_came(IssuerWork& work) noexcept {
  CacheTask& task = *static_cast<Work&>(work).task;
  if (task.is_sync()) {
    task.came_ = true;
    return;
  }
  const Outcome outcome = task.run();
  if (outcome.is_final()) task.ended(task, outcome.result());
}

}  // namespace handback
