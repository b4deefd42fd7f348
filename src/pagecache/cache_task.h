// A buffered request, or part of a blocking call, that goes on when what it waits for has come: a
// page, memory, a range, a write-back. It is a step that is called again: from its issuer's own
// context, or by a thread that waits and adopts it, since others may be waiting for what it holds.
//
// Owner: whoever made it, until its step returned a final outcome. A step that has armed the
// task's entry, or left the task where somebody will call go_on(), returns NotFinal at once and
// touches nothing any more: the task may be on another thread, or over, by then.
#pragma once

#include <handback/issuer.h>
#include <handback/page_wait.h>
#include <cerrno>
#include <new>
#include <utility>

#include "dio/inflight.h"
#include "issuer/issuer_impl.h"

namespace handback {

struct CacheTask {
  using Step = Outcome (*)(CacheTask& task) noexcept;
  // What becomes of a task that has ended, of an asynchronous request.
  using Ended = void (*)(CacheTask& task, IoResult result) noexcept;

  CacheTask(Issuer::Impl& own, Step what, Ended then) noexcept;
  CacheTask(const CacheTask&) = delete;
  CacheTask& operator=(const CacheTask&) = delete;

  // Runs the step; with a `then`, which is called later if the outcome is not final, and with
  // none, waits until the outcome is final. Runs on: the issuer's thread (without a `then`: task
  // or worker context), or where the step before went on.
  Outcome run() noexcept;

  // What it waits for has come; any thread, any context.
  void go_on() noexcept;
  void go_on(IoResult result) noexcept {
    wait.error = result;
    go_on();
  }

  [[nodiscard]] bool is_sync() const noexcept { return ended == nullptr; }
  // Whose rings and pools a step may use where it runs.
  [[nodiscard]] Issuer::Impl& executor() const noexcept { return Issuer::Impl::executor(*issuer); }

  WaitPage wait;  // Its `error` says how the last wait ended.
  Issuer::Impl* issuer;
  Step step;
  Ended ended;

 private:
  struct Work : IssuerWork {
    CacheTask* task = nullptr;
  };
  static void work_came(IssuerWork& work) noexcept;

  Work work_;
  bool came_ = false;  // Of a task that is waited for: its own thread sets and reads it.
};

// Carries a request out as a Task(arguments..., issuer, ended): on the stack of a synchronous
// caller, else in a record of its issuer's pool. Returns as File::read_iter and write_iter do.
template <typename Task, typename... Arguments>
Outcome run_request(Kiocb& kiocb, Arguments&&... arguments) noexcept {
  static_assert(sizeof(Task) <= dio_record_bytes);
  Issuer::Impl& own = kiocb.issuer->impl();
  if (kiocb.is_sync()) {
    Task task(std::forward<Arguments>(arguments)..., own, nullptr);
    return task.run();
  }
  void* record = own.take_dio_record();
  if (record == nullptr) return IoResult::host_failure(ENOMEM);
  // Of one that had to wait.
  const CacheTask::Ended ended = [](CacheTask& task, IoResult result) noexcept {
    auto& whole = static_cast<Task&>(task);
    Kiocb& request = whole.kiocb;
    Issuer::Impl& issuer = *whole.issuer;
    whole.~Task();
    issuer.give_back_dio_record(&whole);
    request.route = Route::issuer;
    request.route_reason = RouteReason::cached_pages;
    request.ki_complete(request, result);
  };
  auto* task = ::new (record) Task(std::forward<Arguments>(arguments)..., own, ended);
  const Outcome outcome = task->run();
  if (outcome.is_final()) {
    task->~Task();
    own.give_back_dio_record(record);
  }
  return outcome;
}

// A task that holds a range of a file, or stands in line for it.
struct RangeTask : CacheTask {
  using CacheTask::CacheTask;

  // Enters `range`, of which the caller has set offset, end and mode. A result: it is held, or
  // would_block with `nowait`. NotFinal: it stands in line; the next step finds it held, and may
  // run on another thread before this returns, so that the task has to be ready for it.
  Outcome enter(DioInflight& inflight, bool nowait) noexcept;
  // Nothing if it holds none.
  void leave_range() noexcept;

  RangeEntry range;

 private:
  struct Standing : InLine {
    RangeTask* task = nullptr;
  };

  DioInflight::Impl* table_ = nullptr;  // Where it has its range, or stands in line.
  Standing in_line_;
};

}  // namespace handback
