// The library's side of the contract (handback/contract.h): setting the context, naming the handler
// that runs, and the checks of its own calls.
#pragma once

#include <handback/contract.h>

namespace handback {

// Sets the context for a scope and restores the previous one. No handler runs in it yet.
class ContextScope {
 public:
  explicit ContextScope(Context context) noexcept : previous_(detail::contract_state) {
    detail::ContractState& now = detail::contract_state;
    now.context = context;
    now.allowed = grants(context);
    now.handler = nullptr;
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
  ~ContextScope() {
    // The locks held are the same again, or somebody forgot one.
    detail::contract_state = previous_;
  }

 private:
  detail::ContractState previous_;
};

// Says which handler runs, for which request, and what it declared: it may do nothing else.
class HandlerScope {
 public:
  HandlerScope(const char* name, Acts declared, const void* request,
               std::string (*describe)(const void*)) noexcept
      : now_{name, declared, request, describe},
        previous_(detail::contract_state.handler),
        previous_allowed_(detail::contract_state.allowed) {
    detail::ContractState& state = detail::contract_state;
    state.handler = &now_;
    state.allowed = grants(state.context) & declared;
  }
  HandlerScope(const HandlerScope&) = delete;
  HandlerScope& operator=(const HandlerScope&) = delete;
  ~HandlerScope() {
    detail::contract_state.handler = previous_;
    detail::contract_state.allowed = previous_allowed_;
  }

 private:
  detail::HandlerNow now_;
  const detail::HandlerNow* previous_;
  Acts previous_allowed_;
};

// A lock that is no RankedMutex is taken or released. Reports one taken out of order.
void rank_taken(LockRank rank) noexcept;
void rank_released(LockRank rank) noexcept;

// check_may(Acts::wait), and no lock is held that settling may need.
void check_may_wait(std::source_location where = std::source_location::current()) noexcept;

// check_may_wait(), and no handler runs: whoever drains may be waiting for the request that it is
// settling.
void check_may_drain(std::source_location where = std::source_location::current()) noexcept;

// Initial-exec: asked several times for each request, so it is not worth a call.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local char thread_mark;

// Identifies the calling thread; never null, unique among living threads.
[[nodiscard]] inline const void* thread_token() noexcept {
  return &thread_mark;
}

}  // namespace handback
