#include <gtest/gtest.h>
#include <handback/route.h>

#include <algorithm>
#include <array>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

namespace handback {

inline void PrintTo(const RouteDecision& decision, std::ostream* out) {
  *out << to_string(decision.route) << '/' << to_string(decision.reason);
}

}  // namespace handback

namespace handback::testing {
namespace {

using Fact = bool CompletionFacts::*;

constexpr std::array<std::pair<Fact, const char*>, 12> facts_by_bit{{
    {&CompletionFacts::sync_caller, "sync_caller"},
    {&CompletionFacts::write, "write"},
    {&CompletionFacts::failed, "failed"},
    {&CompletionFacts::extending, "extending"},
    {&CompletionFacts::unwritten, "unwritten"},
    {&CompletionFacts::new_extent, "new_extent"},
    {&CompletionFacts::shared, "shared"},
    {&CompletionFacts::needs_sync, "needs_sync"},
    {&CompletionFacts::cached_pages, "cached_pages"},
    {&CompletionFacts::in_task, "in_task"},
    {&CompletionFacts::defer, "defer"},
    {&CompletionFacts::issuer_gone, "issuer_gone"},
}};
// A fact added to the struct must be added to the table.
static_assert(sizeof(CompletionFacts) == facts_by_bit.size() * sizeof(bool) + 2 * sizeof(Acts));

// A bit for each fact, and then for each act that a handler may declare, twice.
constexpr unsigned acts_bits = 4;
constexpr unsigned combinations = 1U << (facts_by_bit.size() + 2 * acts_bits);

CompletionFacts facts_of(unsigned combination) {
  CompletionFacts facts;
  for (unsigned i = 0; i < facts_by_bit.size(); ++i)
    facts.*facts_by_bit[i].first = ((combination >> i) & 1) != 0;
  const unsigned acts = combination >> facts_by_bit.size();
  facts.handler_pure = static_cast<Acts>(acts & 15U);
  facts.handler_task = static_cast<Acts>(acts >> acts_bits);
  return facts;
}

std::string text_of(unsigned combination) {
  std::string text;
  for (unsigned i = 0; i < facts_by_bit.size(); ++i) {
    if (((combination >> i) & 1) != 0) text += std::string(facts_by_bit[i].second) + ' ';
  }
  const CompletionFacts facts = facts_of(combination);
  return text + "pure: " + to_string(facts.handler_pure) +
         ", task: " + to_string(facts.handler_task);
}

// The table of design.md section 4 as sets: what needs a task, what may not be handed back. Of
// several reasons the first in the order of the enumeration counts.
RouteDecision decision_by_table(const CompletionFacts& facts) {
  std::set<RouteReason> needs_task;
  if (facts.failed) needs_task.insert(RouteReason::error);
  if (facts.write) {
    if (facts.cached_pages) needs_task.insert(RouteReason::cached_pages);
    if (facts.needs_sync) needs_task.insert(RouteReason::dsync);
    if (facts.shared) needs_task.insert(RouteReason::shared);
    if (facts.new_extent) needs_task.insert(RouteReason::new_extent);
    if (facts.unwritten) needs_task.insert(RouteReason::unwritten);
    if (facts.extending) needs_task.insert(RouteReason::extending);
  }
  const Acts declared = needs_task.empty() ? facts.handler_pure : facts.handler_task;
  if (needs_task.empty()) {
    if (declared != Acts::none) needs_task.insert(RouteReason::handler_needs);
    if (facts.in_task) needs_task.insert(RouteReason::asked);
  }
  std::set<RouteReason> needs_worker;
  if (contains(declared, Acts::wait)) needs_worker.insert(RouteReason::handler_waits);
  if (!needs_task.empty() && !facts.defer) needs_worker.insert(RouteReason::no_defer);
  if (!needs_task.empty() && facts.issuer_gone) needs_worker.insert(RouteReason::issuer_gone);

  if (facts.sync_caller) return {Route::waiter, RouteReason::sync_caller};
  if (!needs_worker.empty()) return {Route::worker, *needs_worker.begin()};
  if (!needs_task.empty()) return {Route::issuer, *needs_task.begin()};
  return {Route::inline_, facts.write ? RouteReason::pure_overwrite : RouteReason::read_ok};
}

TEST(RouteCompletion, FollowsTheTableForEveryCombinationOfFacts) {
  unsigned differences = 0;
  for (unsigned combination = 0; combination < combinations; ++combination) {
    const RouteDecision decided = route_completion(facts_of(combination));
    const RouteDecision expected = decision_by_table(facts_of(combination));
    if (decided == expected) continue;
    ++differences;
    if (differences > 3) continue;
    EXPECT_EQ(decided, expected) << text_of(combination);
  }
  EXPECT_EQ(differences, 0U);
}

// What the table means, row by row, for those who read tests.

TEST(RouteCompletion, LeavesASynchronousRequestToItsWaiterWhateverHappened) {
  for (unsigned combination = 0; combination < combinations; ++combination) {
    CompletionFacts facts = facts_of(combination);
    facts.sync_caller = true;
    const RouteDecision waiter{Route::waiter, RouteReason::sync_caller};
    ASSERT_EQ(route_completion(facts), waiter) << text_of(combination);
  }
}

TEST(RouteCompletion, SettlesAReadThatSucceededInlineWithOrWithoutDefer) {
  const RouteDecision read_ok{Route::inline_, RouteReason::read_ok};
  EXPECT_EQ(route_completion({.defer = true}), read_ok);
  EXPECT_EQ(route_completion({.defer = false}), read_ok);
  EXPECT_EQ(route_completion({.issuer_gone = true}), read_ok);
  // What only writes do does not touch it.
  EXPECT_EQ(route_completion({.extending = true, .unwritten = true, .shared = true, .defer = true}),
            read_ok);
}

TEST(RouteCompletion, SettlesAPureOverwriteInline) {
  const RouteDecision pure_overwrite{Route::inline_, RouteReason::pure_overwrite};
  EXPECT_EQ(route_completion({.write = true, .defer = true}), pure_overwrite);
  EXPECT_EQ(route_completion({.write = true, .defer = false}), pure_overwrite);
}

TEST(RouteCompletion, HandsBackWhatNeedsATask) {
  const auto reason = [](CompletionFacts facts) {
    facts.write = true;
    facts.defer = true;
    const RouteDecision decision = route_completion(facts);
    EXPECT_EQ(decision.route, Route::issuer) << to_string(decision.reason);
    return decision.reason;
  };
  EXPECT_EQ(reason({.failed = true}), RouteReason::error);
  EXPECT_EQ(reason({.extending = true}), RouteReason::extending);
  EXPECT_EQ(reason({.unwritten = true}), RouteReason::unwritten);
  EXPECT_EQ(reason({.new_extent = true}), RouteReason::new_extent);
  EXPECT_EQ(reason({.shared = true}), RouteReason::shared);
  EXPECT_EQ(reason({.needs_sync = true}), RouteReason::dsync);
  EXPECT_EQ(reason({.cached_pages = true}), RouteReason::cached_pages);
}

TEST(RouteCompletion, PuntsToAWorkerWhatCannotBeHandedBack) {
  const RouteDecision no_defer{Route::worker, RouteReason::no_defer};
  EXPECT_EQ(route_completion({.failed = true}), no_defer);
  EXPECT_EQ(route_completion({.write = true, .extending = true}), no_defer);
  const RouteDecision gone{Route::worker, RouteReason::issuer_gone};
  EXPECT_EQ(
      route_completion({.write = true, .extending = true, .defer = true, .issuer_gone = true}),
      gone);
  const RouteDecision waits{Route::worker, RouteReason::handler_waits};
  EXPECT_EQ(route_completion({.handler_pure = Acts::wait, .defer = true}), waits);
  EXPECT_EQ(route_completion({.failed = true, .handler_task = Acts::wait, .defer = true}), waits);
  // Only what it declared for the case at hand counts.
  EXPECT_EQ(route_completion({.handler_task = Acts::wait, .defer = true}).route, Route::inline_);
}

TEST(RouteCompletion, SettlesNothingInlineForAHandlerThatNeedsATask) {
  const RouteDecision needs{Route::issuer, RouteReason::handler_needs};
  EXPECT_EQ(route_completion({.handler_pure = Acts::lock, .defer = true}), needs);
  EXPECT_EQ(route_completion({.write = true, .handler_pure = Acts::allocate, .defer = true}),
            needs);
  const RouteDecision no_defer{Route::worker, RouteReason::no_defer};
  EXPECT_EQ(route_completion({.handler_pure = Acts::lock}), no_defer);
}

TEST(RouteCompletion, SettlesNothingInlineWhereThatWasAsked) {
  const RouteDecision asked{Route::issuer, RouteReason::asked};
  EXPECT_EQ(route_completion({.in_task = true, .defer = true}), asked);
  EXPECT_EQ(route_completion({.write = true, .in_task = true, .defer = true}), asked);
  const RouteDecision no_defer{Route::worker, RouteReason::no_defer};
  EXPECT_EQ(route_completion({.write = true, .in_task = true}), no_defer);
}

TEST(RouteNames, AreThoseOfTheDocs) {
  const std::array<std::string_view, route_count> routes = {"none",   "submit", "waiter",
                                                            "inline", "issuer", "worker"};
  for (unsigned i = 0; i < route_count; ++i)
    EXPECT_EQ(to_string(static_cast<Route>(i)), routes[i]);
  EXPECT_EQ(to_string(static_cast<Route>(route_count)), "unknown");

  const std::array<std::string_view, route_reason_count> reasons = {
      "none",     "submit_ended", "sync_caller",   "read_ok",    "pure_overwrite",
      "error",    "extending",    "unwritten",     "new_extent", "shared",
      "dsync",    "cached_pages", "handler_needs", "asked",      "handler_waits",
      "no_defer", "issuer_gone"};
  for (unsigned i = 0; i < route_reason_count; ++i)
    EXPECT_EQ(to_string(static_cast<RouteReason>(i)), reasons[i]);
  EXPECT_EQ(to_string(static_cast<RouteReason>(route_reason_count)), "unknown");
}

}  // namespace
}  // namespace handback::testing
