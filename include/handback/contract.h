// What code at the end of a request may do where: contexts and what they grant, handlers and what
// they declare, locks and their order. Held against what runs, at run time.
//
// docs/contract.md is the contract in full, with the reason and the test for each rule. Everything
// here is for any thread and any context; nothing allocates unless a violation is reported.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <source_location>
#include <string>
#include <string_view>

namespace handback {

// Where code runs. A property of the calling thread, set by the library around what it calls.
enum class Context : std::uint8_t {
  task,    // The user's own calls, and delivery.
  device,  // A bio's end: the reap loop, a device's own thread, or the handler of a nudge.
  issuer,  // Handed-back and posted work: on the issuer, or on a thread that adopts it.
  worker,  // The threads of a WorkerPool.
};
inline constexpr unsigned context_count = 4;

// Things that a context grants or not, and that a handler declares or not. A set of bits.
enum class Acts : std::uint8_t {
  none = 0,
  lock = 1U << 0,       // Lock a mutex.
  submit = 1U << 1,     // Submit I/O.
  allocate = 1U << 2,   // Allocate memory.
  wait = 1U << 3,       // Wait for I/O, or for what only I/O can bring about.
  user_code = 1U << 4,  // Call the user's callback.
};

[[nodiscard]] constexpr Acts operator|(Acts a, Acts b) noexcept {
  return static_cast<Acts>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
[[nodiscard]] constexpr Acts operator&(Acts a, Acts b) noexcept {
  return static_cast<Acts>(static_cast<unsigned>(a) & static_cast<unsigned>(b));
}
// Whether every act of `some` is one of `all`.
[[nodiscard]] constexpr bool contains(Acts all, Acts some) noexcept {
  return (all & some) == some;
}

// What handed-back work may do: all but wait, and leave the user's code alone.
inline constexpr Acts acts_of_handed_back_work = Acts::lock | Acts::submit | Acts::allocate;
inline constexpr Acts acts_all = acts_of_handed_back_work | Acts::wait | Acts::user_code;

// The table of docs/contract.md.
[[nodiscard]] constexpr Acts grants(Context context) noexcept {
  switch (context) {
    case Context::device:
      return Acts::none;
    case Context::issuer:
      return acts_of_handed_back_work;
    case Context::worker:
      return acts_of_handed_back_work | Acts::wait;
    case Context::task:
      return acts_all;
  }
  return Acts::none;
}

// "device", ...; "lock|submit", "nothing".
[[nodiscard]] std::string_view to_string(Context context) noexcept;
[[nodiscard]] std::string to_string(Acts acts);

// What a handler (a file's part of settling, DioOps) declares of itself. It decides where the
// handler is run: a completion is never put where the context grants less than this.
struct HandlerContract {
  const char* name = "a file's handler";  // In reports and traces. Not owned.
  // Of end_io after a read that succeeded or a pure overwrite. With anything here, no completion is
  // settled in device context.
  Acts pure = Acts::none;
  // Of end_io and write_sync in all other cases. With Acts::wait, those go to a worker.
  Acts task = acts_of_handed_back_work;
};

// --- violations ---

enum class ContractCheck : std::uint8_t {
  off,    // Nothing is reported.
  warn,   // Each violation is printed to standard error, and the program goes on.
  abort,  // It is printed, and the program ends.
};

// `abort`, unless the environment says HANDBACK_CONTRACT=off, warn or abort when the first
// violation is met. What the checks cost does not depend on it: a load and a comparison each.
void set_contract_check(ContractCheck check) noexcept;
[[nodiscard]] ContractCheck contract_check() noexcept;
// Violations met so far, reported or not.
[[nodiscard]] std::uint64_t contract_violations() noexcept;

namespace detail {

struct HandlerNow {
  const char* name;
  Acts declared;
  const void* request;
  std::string (*describe)(const void* request);
};

// The calling thread's. Everything that runs in between restores what it found, signal handlers
// too.
struct ContractState {
  Context context = Context::task;
  Acts allowed = acts_all;  // What the context grants and the running handler declared.
  std::uint16_t ranks_held = 0;
  const HandlerNow* handler = nullptr;
};
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ContractState contract_state;

void act_refused(Acts act, std::source_location where) noexcept;

}  // namespace detail

[[nodiscard]] inline Context current_context() noexcept {
  return detail::contract_state.context;
}

// Reports a violation unless the code that runs now may do all of `acts`.
inline void check_may(Acts acts,
                      std::source_location where = std::source_location::current()) noexcept {
  if (!contains(detail::contract_state.allowed, acts)) [[unlikely]]
    detail::act_refused(acts, where);
}

// --- locks ---

// The order in which one thread takes locks: each only while it holds none of its own rank or a
// later one. So settling takes nothing that a drain can hold, and no lock is held over a wait.
enum class LockRank : std::uint8_t {
  cached_range,  // A drained range of a file's page cache, held over I/O. Not a mutex.
  range,         // A DioInflight::Drain, held over I/O. Not a mutex.
  handler,       // A third party's mutexes that its handlers take.
  commit_timer,  // The way from an issuer's hook to a volume that may go.
  metadata,      // A volume's names, sizes, extents, free space, journal.
  map,           // One file's extents.
  checksums,     // A volume's checksums of data.
  leaf,          // A few loads and stores (base/leaf_lock.h); for device context, too.
};
inline constexpr unsigned lock_rank_count = 8;
[[nodiscard]] std::string_view to_string(LockRank rank) noexcept;

// A std::mutex that checks context and rank.
class RankedMutex {
 public:
  explicit RankedMutex(LockRank rank = LockRank::handler) noexcept : rank_(rank) {}
  RankedMutex(const RankedMutex&) = delete;
  RankedMutex& operator=(const RankedMutex&) = delete;

  void lock();
  [[nodiscard]] bool try_lock();
  void unlock();

 private:
  std::mutex mutex_;
  const LockRank rank_;
};

}  // namespace handback
