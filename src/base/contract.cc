#include <handback/contract.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/context.h"
#include "base/stack_trace.h"

namespace handback {

namespace detail {
[[gnu::tls_model("initial-exec")]] constinit thread_local ContractState contract_state;
}  // namespace detail

namespace {

using detail::contract_state;

constexpr int not_asked_yet = -1;
std::atomic<int> check_now{not_asked_yet};
std::atomic<std::uint64_t> violations{0};

ContractCheck check_from_environment() noexcept {
  const char* said = std::getenv("HANDBACK_CONTRACT");
  if (said == nullptr || std::strcmp(said, "abort") == 0) return ContractCheck::abort;
  if (std::strcmp(said, "off") == 0) return ContractCheck::off;
  if (std::strcmp(said, "warn") == 0) return ContractCheck::warn;
  std::fprintf(
      stderr, "handback: HANDBACK_CONTRACT=%s is none of off, warn, abort; taken as abort\n", said);
  return ContractCheck::abort;
}

std::string ranks_text(unsigned ranks) {
  std::string text;
  for (unsigned rank = 0; rank < lock_rank_count; ++rank) {
    if ((ranks & (1U << rank)) == 0) continue;
    if (!text.empty()) text += ", ";
    text += to_string(static_cast<LockRank>(rank));
  }
  return text;
}

// `what`: the act or the lock, with what stood in its way.
// `where` may be null: a mutex is mostly locked by the standard library's guards, and then only the
// stack tells.
void violated(std::string_view rule, const std::string& what,
              const std::source_location* where) noexcept {
  violations.fetch_add(1, std::memory_order_relaxed);
  const ContractCheck check = contract_check();
  if (check == ContractCheck::off) return;
  // The report itself allocates and locks, whatever the context.
  const Acts allowed = std::exchange(contract_state.allowed, acts_all);
  std::string text = "handback: contract violated: ";
  text.append(rule);
  text += "\n  what:      " + what;
  text += "\n  context:   ";
  text += to_string(contract_state.context);
  text += ", which grants " + to_string(grants(contract_state.context));
  if (const auto* handler = contract_state.handler; handler != nullptr) {
    text += "\n  handler:   ";
    text += handler->name;
    text += ", which declares " + to_string(handler->declared);
    text += "\n  request:   " + handler->describe(handler->request);
  }
  if (where != nullptr) {
    text += "\n  where:     ";
    text += where->file_name();
    text += ":" + std::to_string(where->line()) + ", " + where->function_name();
  }
  text +=
      "\n  see:       docs/contract.md; HANDBACK_CONTRACT=off|warn|abort decides what follows\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
  print_stack_trace();
  if (check == ContractCheck::abort) std::abort();
  contract_state.allowed = allowed;
}

constexpr std::array<std::pair<Acts, std::string_view>, 5> act_names{{
    {Acts::lock, "lock"},
    {Acts::submit, "submit"},
    {Acts::allocate, "allocate"},
    {Acts::wait, "wait"},
    {Acts::user_code, "user_code"},
}};

std::string_view rule_of(Acts missing) noexcept {
  if (contains(missing, Acts::wait)) {
    return "only task and worker context wait for I/O; handed-back work submits a continuation "
           "instead";
  }
  if (contains(missing, Acts::user_code)) return "the user's code runs in task context alone";
  if (contains(missing, Acts::lock)) return "device context locks no mutex";
  if (contains(missing, Acts::submit)) return "device context submits no I/O";
  return "device context allocates nothing";
}

}  // namespace

std::string_view to_string(Context context) noexcept {
  switch (context) {
    case Context::task:
      return "task";
    case Context::device:
      return "device";
    case Context::issuer:
      return "issuer";
    case Context::worker:
      return "worker";
  }
  return "unknown";
}

std::string to_string(Acts acts) {
  std::string text;
  for (const auto& [act, name] : act_names) {
    if ((acts & act) == Acts::none) continue;
    if (!text.empty()) text += '|';
    text += name;
  }
  return text.empty() ? "nothing" : text;
}

std::string_view to_string(LockRank rank) noexcept {
  constexpr std::array<std::string_view, lock_rank_count> names{
      "cached_range", "range", "handler", "commit_timer", "metadata", "map", "checksums", "leaf"};
  return static_cast<unsigned>(rank) < names.size() ? names[static_cast<unsigned>(rank)]
                                                    : "unknown";
}

void set_contract_check(ContractCheck check) noexcept {
  check_now.store(static_cast<int>(check), std::memory_order_relaxed);
}

ContractCheck contract_check() noexcept {
  const int known = check_now.load(std::memory_order_relaxed);
  if (known != not_asked_yet) return static_cast<ContractCheck>(known);
  const ContractCheck check = check_from_environment();
  set_contract_check(check);
  return check;
}

std::uint64_t contract_violations() noexcept {
  return violations.load(std::memory_order_relaxed);
}

namespace {

// Nothing if what runs now may do all of `acts`.
void refuse_if_not_allowed(Acts acts, const std::source_location* where) noexcept {
  const auto without = [](Acts all, Acts some) {
    return static_cast<Acts>(static_cast<unsigned>(all) & ~static_cast<unsigned>(some));
  };
  const Acts not_granted = without(acts, grants(contract_state.context));
  if (not_granted != Acts::none) {
    violated(rule_of(not_granted), to_string(not_granted), where);
    return;
  }
  const Acts not_declared = without(acts, contract_state.allowed);
  if (not_declared != Acts::none)
    violated("a handler does nothing that it did not declare", to_string(not_declared), where);
}

}  // namespace

void detail::act_refused(Acts act, std::source_location where) noexcept {
  refuse_if_not_allowed(act, &where);
}

void rank_taken(LockRank rank) noexcept {
  const auto bit = static_cast<unsigned>(rank);
  const unsigned held = contract_state.ranks_held;
  if ((held >> bit) != 0) [[unlikely]] {
    violated("locks are taken in the order of their ranks, each rank once",
             "takes " + std::string(to_string(rank)) + " while holding " + ranks_text(held),
             nullptr);
  }
  contract_state.ranks_held = static_cast<std::uint16_t>(held | (1U << bit));
}

void rank_released(LockRank rank) noexcept {
  contract_state.ranks_held =
      static_cast<std::uint16_t>(contract_state.ranks_held & ~(1U << static_cast<unsigned>(rank)));
}

void check_may_wait(std::source_location where) noexcept {
  check_may(Acts::wait, where);
  // Who waits may have to settle, and settling takes these.
  constexpr unsigned over_io = 1U << static_cast<unsigned>(LockRank::range) |
                               1U << static_cast<unsigned>(LockRank::cached_range);
  const unsigned held = contract_state.ranks_held & ~over_io;
  if (held != 0) [[unlikely]] {
    violated("no lock but a drained range is held over a wait for I/O",
             "waits while holding " + ranks_text(held), &where);
  }
}

void check_may_drain(std::source_location where) noexcept {
  check_may_wait(where);
  if (contract_state.handler != nullptr) [[unlikely]]
    violated("a handler waits for no range of a file", "drain", &where);
}

// --- RankedMutex ---

void RankedMutex::lock() {
  refuse_if_not_allowed(Acts::lock, nullptr);
  rank_taken(rank_);
  mutex_.lock();
}

bool RankedMutex::try_lock() {
  refuse_if_not_allowed(Acts::lock, nullptr);
  if (!mutex_.try_lock()) return false;
  rank_taken(rank_);
  return true;
}

void RankedMutex::unlock() {
  mutex_.unlock();
  rank_released(rank_);
}

}  // namespace handback
