#include <gtest/gtest.h>

#include <handback/contract.h>
#include <array>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

#include "base/context.h"

namespace handback::testing {
namespace {

constexpr std::array contexts{Context::task, Context::device, Context::issuer, Context::worker};
constexpr std::array single_acts{Acts::lock, Acts::submit, Acts::allocate, Acts::wait,
                                 Acts::user_code};

// Violations are counted instead of ending the program, for a test.
class ContractTest : public ::testing::Test {
 protected:
  ContractTest() : before_(contract_check()) { set_contract_check(ContractCheck::off); }
  ~ContractTest() override { set_contract_check(before_); }

  template <typename Code>
  std::uint64_t violations_of(Code code) {
    const std::uint64_t before = contract_violations();
    code();
    return contract_violations() - before;
  }

 private:
  ContractCheck before_;
};

std::string describe_text(const void* text) {
  return static_cast<const char*>(text);
}

TEST(Contract, GrantsEachContextWhatTheTableSays) {
  EXPECT_EQ(to_string(grants(Context::device)), "nothing");
  EXPECT_EQ(to_string(grants(Context::issuer)), "lock|submit|allocate");
  EXPECT_EQ(to_string(grants(Context::worker)), "lock|submit|allocate|wait");
  EXPECT_EQ(to_string(grants(Context::task)), "lock|submit|allocate|wait|user_code");
}

TEST_F(ContractTest, ReportsAnActExactlyWhereTheContextDoesNotGrantIt) {
  for (const Context context : contexts) {
    for (const Acts act : single_acts) {
      const ContextScope scope(context);
      EXPECT_EQ(violations_of([&] { check_may(act); }), contains(grants(context), act) ? 0U : 1U)
          << to_string(context) << ' ' << to_string(act);
    }
  }
}

TEST_F(ContractTest, HoldsAHandlerToWhatItDeclared) {
  const ContextScope scope(Context::issuer);
  const HandlerScope handler("a handler", Acts::lock, "a request", &describe_text);
  EXPECT_EQ(violations_of([] { check_may(Acts::lock); }), 0U);
  EXPECT_EQ(violations_of([] { check_may(Acts::submit); }), 1U);
}

TEST_F(ContractTest, GivesAHandlerNoMoreThanItsContext) {
  const ContextScope scope(Context::issuer);
  const HandlerScope handler("a handler", acts_all, "a request", &describe_text);
  EXPECT_EQ(violations_of([] { check_may(Acts::wait); }), 1U);
}

TEST_F(ContractTest, ForgetsTheHandlerWhenItReturns) {
  const ContextScope scope(Context::issuer);
  { const HandlerScope handler("a handler", Acts::none, "a request", &describe_text); }
  EXPECT_EQ(violations_of([] { check_may(Acts::submit); }), 0U);
}

TEST_F(ContractTest, LetsNoHandlerDrain) {
  EXPECT_EQ(violations_of([] { check_may_drain(); }), 0U);
  const ContextScope scope(Context::worker);
  EXPECT_EQ(violations_of([] { check_may_drain(); }), 0U);
  const HandlerScope handler("a handler", acts_all, "a request", &describe_text);
  EXPECT_EQ(violations_of([] { check_may_drain(); }), 1U);
}

TEST_F(ContractTest, TakesEachPairOfLocksInTheOrderOfRanksOnly) {
  for (unsigned held = 0; held < lock_rank_count; ++held) {
    for (unsigned taken = 0; taken < lock_rank_count; ++taken) {
      RankedMutex first(static_cast<LockRank>(held));
      RankedMutex second(static_cast<LockRank>(taken));
      const std::lock_guard guard(first);
      EXPECT_EQ(violations_of([&] { const std::lock_guard inner(second); }), taken > held ? 0U : 1U)
          << to_string(static_cast<LockRank>(held)) << " then "
          << to_string(static_cast<LockRank>(taken));
    }
  }
}

TEST_F(ContractTest, KnowsALockByTheThreadThatHoldsIt) {
  RankedMutex leaf(LockRank::leaf);
  RankedMutex metadata(LockRank::metadata);
  const std::lock_guard guard(leaf);
  std::uint64_t elsewhere = 1;
  std::thread([&] {
    elsewhere = violations_of([&] { const std::lock_guard inner(metadata); });
  }).join();
  EXPECT_EQ(elsewhere, 0U);
}

TEST_F(ContractTest, TriesALockUnderTheSameRules) {
  RankedMutex map(LockRank::map);
  RankedMutex metadata(LockRank::metadata);
  const std::lock_guard guard(map);
  EXPECT_EQ(violations_of([&] {
              ASSERT_TRUE(metadata.try_lock());
              metadata.unlock();
            }),
            1U);
  // A lock that was not got is not held.
  EXPECT_EQ(violations_of([&] {
              std::thread([&] { EXPECT_FALSE(map.try_lock()); }).join();
              std::thread([&] { const std::lock_guard inner(metadata); }).join();
            }),
            0U);
}

TEST_F(ContractTest, LetsNoLockButADrainedRangeBeHeldOverAWait) {
  rank_taken(LockRank::cached_range);
  EXPECT_EQ(violations_of([] { check_may_wait(); }), 0U);
  rank_taken(LockRank::range);
  EXPECT_EQ(violations_of([] { check_may_wait(); }), 0U);
  for (const LockRank rank :
       {LockRank::handler, LockRank::metadata, LockRank::map, LockRank::checksums}) {
    RankedMutex mutex(rank);
    const std::lock_guard guard(mutex);
    EXPECT_EQ(violations_of([] { check_may_wait(); }), 1U) << to_string(rank);
  }
  rank_released(LockRank::range);
  rank_released(LockRank::cached_range);
}

TEST_F(ContractTest, LetsDeviceContextLockNoMutex) {
  RankedMutex mutex;
  const ContextScope scope(Context::device);
  EXPECT_EQ(violations_of([&] { const std::lock_guard guard(mutex); }), 1U);
}

// What a report looks like.

void violate() {
  const ContextScope scope(Context::issuer);
  const HandlerScope handler("zone file", Acts::lock | Acts::submit,
                             "ino=7 offset=4096 length=8192 flags=DIRECT|WRITE|DIO_DEFER",
                             &describe_text);
  check_may(Acts::wait);
}

class ContractDeathTest : public ::testing::Test {
 protected:
  ContractDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(ContractDeathTest, NamesRuleContextHandlerAndRequest) {
  EXPECT_DEATH(violate(),
               "^handback: contract violated: only task and worker context wait for I/O; "
               "handed-back work submits a continuation instead\n"
               "  what:      wait\n"
               "  context:   issuer, which grants lock\\|submit\\|allocate\n"
               "  handler:   zone file, which declares lock\\|submit\n"
               "  request:   ino=7 offset=4096 length=8192 flags=DIRECT\\|WRITE\\|DIO_DEFER\n"
               "  where:     .*contract_test\\.cc:[0-9]+, .*violate.*\n"
               "  see:       docs/contract\\.md; HANDBACK_CONTRACT=off\\|warn\\|abort decides what "
               "follows\n");
}

TEST_F(ContractDeathTest, NamesBothLocksOfAWrongOrder) {
  EXPECT_DEATH(
      {
        RankedMutex map(LockRank::map);
        RankedMutex metadata(LockRank::metadata);
        const std::lock_guard outer(map);
        const std::lock_guard inner(metadata);
      },
      "locks are taken in the order of their ranks, each rank once\n"
      "  what:      takes metadata while holding map\n");
}

#if defined(__GLIBC__)
TEST_F(ContractDeathTest, PrintsTheStack) {
  EXPECT_DEATH(violate(), "decides what follows\n(.*\n)*.*base_test.*\\[0x[0-9a-f]+\\]");
}
#endif

// Runs violate() in a process whose environment says `said`, and exits with 7 if it goes on.
void violate_under(const char* said) {
  if (said == nullptr) {
    ::unsetenv("HANDBACK_CONTRACT");
  } else {
    ::setenv("HANDBACK_CONTRACT", said, 1);
  }
  violate();
  std::exit(contract_violations() == 1 ? 7 : 8);
}

TEST_F(ContractDeathTest, DoesWhatTheEnvironmentSays) {
  const auto goes_on = ::testing::ExitedWithCode(7);
  const auto aborts = ::testing::KilledBySignal(SIGABRT);
  EXPECT_EXIT(violate_under("off"), goes_on, "^$");
  EXPECT_EXIT(violate_under("warn"), goes_on, "^handback: contract violated: only task");
  EXPECT_EXIT(violate_under("abort"), aborts, "contract violated: only task");
  EXPECT_EXIT(violate_under(nullptr), aborts, "contract violated: only task");
  EXPECT_EXIT(violate_under("of"), aborts,
              "HANDBACK_CONTRACT=of is none of off, warn, abort; taken as abort\n"
              "handback: contract violated");
}

TEST_F(ContractDeathTest, DoesWhatTheProgramSaysWhateverTheEnvironmentSays) {
  EXPECT_EXIT(
      {
        ::setenv("HANDBACK_CONTRACT", "abort", 1);
        set_contract_check(ContractCheck::warn);
        violate();
        std::exit(7);
      },
      ::testing::ExitedWithCode(7), "contract violated");
}

}  // namespace
}  // namespace handback::testing
