// Goal: bytes that nobody vouches for never crash, hang, overrun the caps or are written to.
// Method: damage that knows the format (tools/hostile). HB_HOSTILE_IMAGES sets how many images are
// tried, HB_SEED the first; handback-hostile does the same for as long as wanted.
#include <gtest/gtest.h>

#include <cstdlib>

#include "hostile/hostile_run.h"

namespace hostile::testing {
namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

TEST(HostileImages, NeverCrashHangOrAreWrittenToBeforeTheWholeCheckHasPassed) {
  const std::uint64_t count = number_from("HB_HOSTILE_IMAGES", 4000);
  const std::uint64_t seed = number_from("HB_SEED", 1);
  HostileRun run;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string wrong = run.try_image(seed + i);
    ASSERT_EQ(wrong, "") << "replay with HB_SEED=" << seed + i << " HB_HOSTILE_IMAGES=1";
  }
  if (count < 1000) return;
  EXPECT_GT(run.counters().refused, count / 10) << "the damage does not reach what is checked";
  EXPECT_GT(run.counters().opened, count / 10) << "what opens is hardly tried";
  EXPECT_GT(run.counters().reasons.size(), 40U) << "the damage is too much of one kind";
}

}  // namespace
}  // namespace hostile::testing
