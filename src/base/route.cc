#include <handback/route.h>

#include "base/planted_bug.h"

namespace handback {

std::string_view to_string(Route route) noexcept {
  switch (route) {
    case Route::none:
      return "none";
    case Route::submit:
      return "submit";
    case Route::waiter:
      return "waiter";
    case Route::inline_:
      return "inline";
    case Route::issuer:
      return "issuer";
    case Route::worker:
      return "worker";
  }
  return "unknown";
}

std::string_view to_string(RouteReason reason) noexcept {
  switch (reason) {
    case RouteReason::none:
      return "none";
    case RouteReason::submit_ended:
      return "submit_ended";
    case RouteReason::sync_caller:
      return "sync_caller";
    case RouteReason::read_ok:
      return "read_ok";
    case RouteReason::pure_overwrite:
      return "pure_overwrite";
    case RouteReason::error:
      return "error";
    case RouteReason::extending:
      return "extending";
    case RouteReason::unwritten:
      return "unwritten";
    case RouteReason::new_extent:
      return "new_extent";
    case RouteReason::shared:
      return "shared";
    case RouteReason::dsync:
      return "dsync";
    case RouteReason::cached_pages:
      return "cached_pages";
    case RouteReason::handler_needs:
      return "handler_needs";
    case RouteReason::asked:
      return "asked";
    case RouteReason::handler_waits:
      return "handler_waits";
    case RouteReason::no_defer:
      return "no_defer";
    case RouteReason::issuer_gone:
      return "issuer_gone";
  }
  return "unknown";
}

namespace {

// Why the completion needs a task, or `none` if nothing is left to do but what its handler does
// after a read that succeeded or a pure overwrite.
RouteReason work_left(const CompletionFacts& facts) noexcept {
  if (facts.failed && !planted(PlantedBug::route_error_settles_inline)) return RouteReason::error;
  if (!facts.write) return RouteReason::none;
  if (facts.extending) return RouteReason::extending;
  if (facts.unwritten && !planted(PlantedBug::route_forgets_unwritten))
    return RouteReason::unwritten;
  if (facts.new_extent) return RouteReason::new_extent;
  if (facts.shared) return RouteReason::shared;
  if (facts.needs_sync) return RouteReason::dsync;
  if (facts.cached_pages) return RouteReason::cached_pages;
  return RouteReason::none;
}

}  // namespace

RouteDecision route_completion(const CompletionFacts& facts) noexcept {
  if (facts.sync_caller) return {Route::waiter, RouteReason::sync_caller};
  RouteReason reason = work_left(facts);
  const Acts needed = reason == RouteReason::none ? facts.handler_pure : facts.handler_task;
  // Whoever must wait may do so nowhere but on a worker, whatever the I/O was.
  if (contains(needed, Acts::wait) && !planted(PlantedBug::route_waits_on_the_issuer))
    return {Route::worker, RouteReason::handler_waits};
  if (reason == RouteReason::none) {
    if (!contains(grants(Context::device), needed)) {
      reason = RouteReason::handler_needs;
    } else if (facts.in_task) {
      reason = RouteReason::asked;
    } else {
      return {Route::inline_, facts.write ? RouteReason::pure_overwrite : RouteReason::read_ok};
    }
  }
  if (!facts.defer) return {Route::worker, RouteReason::no_defer};
  if (facts.issuer_gone) return {Route::worker, RouteReason::issuer_gone};
  return {Route::issuer, reason};
}

}  // namespace handback
