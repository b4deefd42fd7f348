#include "base/context.h"

#include "base/assert.h"

namespace handback {
namespace {
thread_local Context context_now = Context::task;
thread_local char token;
}  // namespace

Context current_context() noexcept {
  return context_now;
}

ContextScope::ContextScope(Context context) noexcept : previous_(context_now) {
  context_now = context;
}
ContextScope::~ContextScope() {
  context_now = previous_;
}

void assert_may_submit() noexcept {
  HB_ASSERT(context_now != Context::device, "device context submits no I/O");
}

void assert_may_wait_for_io() noexcept {
  HB_ASSERT(
      context_now == Context::task || context_now == Context::worker,
      "only task and worker context wait for I/O; handed-back work submits a continuation instead");
}

void assert_may_lock() noexcept {
  HB_ASSERT(context_now != Context::device, "device context locks no mutex");
}

const void* thread_token() noexcept {
  return &token;
}

}  // namespace handback
