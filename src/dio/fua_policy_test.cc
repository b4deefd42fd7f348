#include "dio/fua_policy.h"

#include <gtest/gtest.h>

#include <ostream>

namespace handback {

inline void PrintTo(FuaChoice choice, std::ostream* out) {
  constexpr const char* names[] = {"none", "write_through", "fua", "sync_after"};
  *out << names[static_cast<unsigned>(choice)];
}

namespace testing {
namespace {

// What must hold for a dsync write to be durable when its bios end: the file has nothing left to
// write, the mapping can be found again, and the data is on the medium.
FuaChoice choice_by_need(const FuaFacts& facts) {
  if (!facts.dsync) return FuaChoice::none;
  const bool metadata_is_durable = facts.mapped && !facts.dirty && !facts.extending && !facts.sync;
  const bool can_reach_medium = !facts.volatile_cache || facts.fua;
  if (!metadata_is_durable || !can_reach_medium) return FuaChoice::sync_after;
  return facts.volatile_cache ? FuaChoice::fua : FuaChoice::write_through;
}

TEST(FuaPolicy, FollowsFromWhatDurabilityNeedsForEveryCombinationOfFacts) {
  for (unsigned combination = 0; combination < 128; ++combination) {
    const FuaFacts facts{.dsync = (combination & 1) != 0,
                         .sync = (combination & 2) != 0,
                         .mapped = (combination & 4) != 0,
                         .dirty = (combination & 8) != 0,
                         .volatile_cache = (combination & 16) != 0,
                         .fua = (combination & 32) != 0,
                         .extending = (combination & 64) != 0};
    EXPECT_EQ(fua_policy(facts), choice_by_need(facts)) << combination;
  }
}

// The rows of the table that have a name.
static_assert(fua_policy({.mapped = true}) == FuaChoice::none);
static_assert(fua_policy({.dsync = true, .mapped = true}) == FuaChoice::write_through);
static_assert(fua_policy({.dsync = true, .mapped = true, .volatile_cache = true, .fua = true}) ==
              FuaChoice::fua);
static_assert(fua_policy({.dsync = true, .mapped = true, .volatile_cache = true}) ==
              FuaChoice::sync_after);
static_assert(fua_policy({.dsync = true}) == FuaChoice::sync_after);
static_assert(fua_policy({.dsync = true, .mapped = true, .dirty = true}) == FuaChoice::sync_after);
static_assert(fua_policy({.dsync = true, .mapped = true, .extending = true}) ==
              FuaChoice::sync_after);
static_assert(fua_policy({.dsync = true, .sync = true, .mapped = true}) == FuaChoice::sync_after);

}  // namespace
}  // namespace testing
}  // namespace handback
