#include "base/context.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <thread>

namespace handback::testing {
namespace {

TEST(Context, IsTaskOnEveryThreadAtFirst) {
  EXPECT_EQ(current_context(), Context::task);
  Context elsewhere = Context::device;
  std::thread([&] { elsewhere = current_context(); }).join();
  EXPECT_EQ(elsewhere, Context::task);
}

TEST(Context, IsRestoredWhenItsScopeEnds) {
  {
    const ContextScope device(Context::device);
    EXPECT_EQ(current_context(), Context::device);
    {
      const ContextScope issuer(Context::issuer);
      EXPECT_EQ(current_context(), Context::issuer);
    }
    EXPECT_EQ(current_context(), Context::device);
  }
  EXPECT_EQ(current_context(), Context::task);
}

TEST(Context, BelongsToOneThread) {
  const ContextScope device(Context::device);
  Context elsewhere = Context::device;
  std::thread([&] {
    const ContextScope worker(Context::worker);
    elsewhere = current_context();
  }).join();
  EXPECT_EQ(elsewhere, Context::worker);
  EXPECT_EQ(current_context(), Context::device);
}

// The table in context.h and in design.md, section 3.
struct Grants {
  Context context;
  const char* name;
  bool lock;
  bool submit;
  bool wait;
};
constexpr std::array<Grants, 4> table{{
    {Context::device, "device", false, false, false},
    {Context::issuer, "issuer", true, true, false},
    {Context::worker, "worker", true, true, true},
    {Context::task, "task", true, true, true},
}};

TEST(ContextDeathTest, GrantsWhatTheTableSaysAndNothingElse) {
  for (const Grants& grants : table) {
    SCOPED_TRACE(grants.name);
    const ContextScope scope(grants.context);
    if (grants.lock) {
      check_may(Acts::lock);
    } else {
      EXPECT_DEATH(check_may(Acts::lock), "contract violated: device context locks no mutex");
    }
    if (grants.submit) {
      check_may(Acts::submit);
    } else {
      EXPECT_DEATH(check_may(Acts::submit), "contract violated: device context submits no I/O");
    }
    if (grants.wait) {
      check_may_wait();
    } else {
      EXPECT_DEATH(check_may_wait(),
                   "contract violated: only task and worker context wait for I/O; "
                   "handed-back work submits a continuation instead");
    }
  }
}

TEST(ThreadToken, IsTheSameOnOneThreadAndDiffersBetweenLivingThreads) {
  EXPECT_NE(thread_token(), nullptr);
  EXPECT_EQ(thread_token(), thread_token());
  const void* first = nullptr;
  const void* second = nullptr;
  std::thread outer([&] {
    first = thread_token();
    std::thread([&] { second = thread_token(); }).join();
  });
  outer.join();
  EXPECT_EQ((std::set<const void*>{thread_token(), first, second}.size()), 3U);
}

}  // namespace
}  // namespace handback::testing
