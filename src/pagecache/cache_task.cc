#include "pagecache/cache_task.h"

#include <utility>

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

Outcome RangeTask::enter(DioInflight& inflight, bool nowait) noexcept {
  using Entered = DioInflight::Impl::Entered;
  auto& to = dio_inflight_impl(inflight);
  range.owner = this;
  range.granted = [](RangeEntry& entry) noexcept {
    auto& self = *static_cast<RangeTask*>(entry.owner);
    if (!self.is_sync()) self.issuer->in_line().remove(self.in_line_);
    self.go_on();
  };
  table_ = &to;
  if (to.enter(range, true) == Entered::granted) return IoResult{};
  if (nowait) {
    table_ = nullptr;
    return IoResult::failure(Errc::would_block);
  }
  const bool sync = is_sync();
  Issuer::Impl& own = *issuer;
  if (!sync) {
    in_line_.task = this;
    in_line_.withdraw = [](InLine& entry) noexcept {
      RangeTask& self = *static_cast<Standing&>(entry).task;
      return self.table_->withdraw(self.range, &self.range.granted_next);
    };
    in_line_.cancel = [](InLine& entry) noexcept {
      RangeTask& self = *static_cast<Standing&>(entry).task;
      DioInflight::Impl::call_granted(self.range.granted_next);
      self.table_ = nullptr;
      self.ended(self, IoResult::failure(Errc::canceled));
    };
    own.in_line().add(in_line_);
  }
  // Once it stands in line it may be granted, and go on elsewhere, before this returns.
  if (to.enter(range, false) == Entered::granted) {
    if (!sync) own.in_line().remove(in_line_);
    return IoResult{};
  }
  return NotFinal{};
}

void RangeTask::leave_range() noexcept {
  if (table_ != nullptr) std::exchange(table_, nullptr)->leave(range);
}

}  // namespace handback
