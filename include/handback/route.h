// Where a completion runs, and why. docs/ARCHITECTURE.md has the table; `route_completion` is the
// one place that decides, a pure function over facts known at completion.
#pragma once

#include <handback/contract.h>
#include <cstdint>
#include <string_view>

namespace handback {

enum class Route : std::uint8_t {
  none = 0,  // Not completed yet.
  submit,    // Ended within the submission; no completion had to be routed.
  waiter,    // A synchronous caller waits and settles the request itself.
  inline_,   // Settled where the last bio ended: nothing needed a task. Prints as "inline".
  issuer,    // Handed back: settled by the issuer from its own context.
  worker,    // Punted to the pool.
};
inline constexpr unsigned route_count = 6;

// The first reason, in the order of this list, that applied.
enum class RouteReason : std::uint8_t {
  none = 0,
  submit_ended,  // submit: the last bio had ended, or none was needed, before submission returned.
  sync_caller,   // waiter
  read_ok,       // inline
  pure_overwrite,  // inline
  error,           // issuer or worker, and all below
  extending,       // By end offset: a write that straddles EOF extends.
  unwritten,
  new_extent,
  shared,
  dsync,          // DSYNC that FUA or a write-through cache did not already satisfy.
  cached_pages,   // The range has cached pages.
  handler_needs,  // The handler declared that it does what device context does not grant.
  asked,          // IssuerOptions::settle_in_task.
  handler_waits,  // worker: the handler declared that it must wait.
  no_defer,       // worker: the issuer did not set DIO_DEFER.
  issuer_gone,    // worker
};
inline constexpr unsigned route_reason_count = 17;

// "inline", "issuer", …: as in docs and traces.
[[nodiscard]] std::string_view to_string(Route route) noexcept;
[[nodiscard]] std::string_view to_string(RouteReason reason) noexcept;

// Everything the decision may depend on, as it is at completion (not as it was at submission).
struct CompletionFacts {
  bool sync_caller = false;  // ki_complete is null: somebody waits for this request.
  bool write = false;
  bool failed = false;        // The first error is set.
  bool extending = false;     // offset + length > the file's size now.
  bool unwritten = false;     // Some mapping of the request was unwritten.
  bool new_extent = false;    // Some mapping was allocated by this request.
  bool shared = false;        // Some mapping was shared (copy on write).
  bool needs_sync = false;    // DSYNC is not satisfied by the bios themselves.
  bool cached_pages = false;  // The range has cached pages.
  // What the file's handler declared (HandlerContract).
  Acts handler_pure = Acts::none;
  Acts handler_task = acts_of_handed_back_work;
  bool in_task = false;  // Nothing is to be settled inline (IssuerOptions::settle_in_task).
  bool defer = false;    // The issuer set DIO_DEFER.
  bool issuer_gone = false;
};

struct RouteDecision {
  Route route = Route::none;
  RouteReason reason = RouteReason::none;
  friend bool operator==(const RouteDecision&, const RouteDecision&) = default;
};

[[nodiscard]] RouteDecision route_completion(const CompletionFacts& facts) noexcept;

}  // namespace handback
