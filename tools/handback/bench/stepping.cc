#include "handback/bench/stepping.h"

#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "common/failure.h"
#include "handback/bench/bench_files.h"

namespace tool {
namespace {

// Of a child that may not be traced.
constexpr int exit_not_permitted = 113;

#if defined(__x86_64__)
constexpr bool can_step = true;
std::uintptr_t address_in(const user_regs_struct& registers) {
  return registers.rip;
}
bool is_system_call(long word) {
  return (word & 0xffff) == 0x050f;
}
// A string instruction that repeats stops after each turn.
bool repeats(long word) {
  return (word & 0xff) == 0xf3 || (word & 0xff) == 0xf2;
}
#elif defined(__aarch64__)
constexpr bool can_step = true;
std::uintptr_t address_in(const user_regs_struct& registers) {
  return registers.pc;
}
bool is_system_call(long word) {
  return (word & 0xffffffff) == 0xd4000001;
}
bool repeats(long /*word*/) {
  return false;
}
#else
constexpr bool can_step = false;
std::uintptr_t address_in(const user_regs_struct& /*registers*/) {
  return 0;
}
bool is_system_call(long /*word*/) {
  return false;
}
bool repeats(long /*word*/) {
  return false;
}
#endif

// Where counting begins and ends.
[[gnu::noinline]] void mark_point() {
  asm volatile("" ::: "memory");
}

// The first one makes the parent step.
void mark() {
  static bool is_stepped = false;
  if (!is_stepped) {
    is_stepped = true;
    raise(SIGSTOP);
  }
  mark_point();
}

// Parent and child take turns, and on one processor neither has to wake up another one.
class OneProcessor {
 public:
  OneProcessor() {
    if (sched_getaffinity(0, sizeof(before_), &before_) != 0) return;
    const int now = sched_getcpu();
    if (now < 0) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(now), &one);
    changed_ = sched_setaffinity(0, sizeof(one), &one) == 0;
  }
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;
  ~OneProcessor() {
    if (changed_) sched_setaffinity(0, sizeof(before_), &before_);
  }

 private:
  cpu_set_t before_{};
  bool changed_ = false;
};

// Entries of what takes memory from the heap. operator new calls one of them.
std::vector<std::uintptr_t> allocators() {
  std::vector<std::uintptr_t> entries;
  for (const char* name :
       {"malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign"}) {
    if (void* const entry = dlsym(RTLD_DEFAULT, name); entry != nullptr)
      entries.push_back(reinterpret_cast<std::uintptr_t>(entry));
  }
  return entries;
}

class Stepper {
 public:
  Stepper(pid_t child, const Functions& functions,
          const std::function<bool(const std::string&)>& keeps_caller)
      : child_(child),
        functions_(functions),
        keeps_caller_(keeps_caller),
        allocators_(allocators()) {}
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;
  ~Stepper() {
    if (ended_) return;
    kill(child_, SIGKILL);
    while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  // True if the child stopped, false if it ended.
  bool wait() {
    while (waitpid(child_, &status_, 0) < 0) {
      if (errno != EINTR) throw failure_of_errno(errno, "bench: waitpid");
      stop_bench_if_interrupted();
    }
    ended_ = !WIFSTOPPED(status_);
    return !ended_;
  }
  [[nodiscard]] int exit_code() const { return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1; }

  // To the first mark.
  void run_to_mark() {
    int pass_on = 0;
    do {
      request(PTRACE_CONT, pass_on);
      if (!wait()) throw_child_failed();
      pass_on = WSTOPSIG(status_);
    } while (pass_on != SIGSTOP);
    while (current_address() != mark_address_)
      step();
  }

  // From one mark to the next.
  StepCounts count() {
    StepCounts counts;
    const std::string* function = nullptr;
    std::unordered_map<const std::string*, std::uint64_t> by_function;
    std::uintptr_t last = 0;
    for (std::uintptr_t at = mark_address_; last == 0 || at != mark_address_;
         at = current_address()) {
      const Place& place = place_at(at);
      if (at != last || !place.repeats) {
        ++counts.instructions;
        if (place.system_call) ++counts.system_calls;
        if (place.allocator) ++counts.allocations;
        if (function == nullptr || !place.keeps_caller) function = &place.function;
        ++by_function[function];
      }
      last = at;
      step();
      if (counts.instructions % 4096 == 0) stop_bench_if_interrupted();
    }
    for (const auto& [name, instructions] : by_function)
      counts.by_function[*name] += instructions;
    return counts;
  }

 private:
  struct Place {
    std::string function;
    bool keeps_caller = false;
    bool system_call = false;
    bool repeats = false;
    bool allocator = false;
  };

  void step() {
    request(PTRACE_SINGLESTEP, pass_on_);
    if (!wait()) throw_child_failed();
    pass_on_ = WSTOPSIG(status_) == SIGTRAP ? 0 : WSTOPSIG(status_);
  }

  [[noreturn]] void throw_child_failed() const {
    throw Failure(exit_failed,
                  fmt::format("bench: the run whose instructions are counted ended early, with {}",
                              exit_code()));
  }

  void request(int what, int signal) const {
    if (ptrace(static_cast<__ptrace_request>(what), child_, nullptr,
               reinterpret_cast<void*>(static_cast<std::intptr_t>(signal))) != 0)
      throw failure_of_errno(errno, "bench: ptrace");
  }

  [[nodiscard]] std::uintptr_t current_address() const {
    user_regs_struct registers{};
    iovec to{&registers, sizeof(registers)};
    if (ptrace(PTRACE_GETREGSET, child_, reinterpret_cast<void*>(std::uintptr_t{NT_PRSTATUS}),
               &to) != 0)
      throw failure_of_errno(errno, "bench: ptrace");
    return address_in(registers);
  }

  // The child's code is this process's own: it was forked, and loads nothing.
  Place& place_at(std::uintptr_t address) {
    const auto [found, is_new] = places_.try_emplace(address);
    Place& place = found->second;
    if (!is_new) return place;
    errno = 0;
    const long word = ptrace(PTRACE_PEEKTEXT, child_, reinterpret_cast<void*>(address), nullptr);
    if (errno == 0) {
      place.system_call = is_system_call(word);
      place.repeats = repeats(word);
    }
    place.function = functions_.name_at(address);
    place.keeps_caller = place.function.empty() || keeps_caller_(place.function);
    place.allocator =
        std::find(allocators_.begin(), allocators_.end(), address) != allocators_.end();
    return place;
  }

  pid_t child_;
  const Functions& functions_;
  const std::function<bool(const std::string&)>& keeps_caller_;
  std::vector<std::uintptr_t> allocators_;
  std::unordered_map<std::uintptr_t, Place> places_;
  const std::uintptr_t mark_address_ = reinterpret_cast<std::uintptr_t>(&mark_point);
  int status_ = 0;
  int pass_on_ = 0;  // A signal that the child gets with its next step.
  bool ended_ = false;
};

[[noreturn]] void be_the_child(const std::function<void(Mark mark)>& run) {
  if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(exit_not_permitted);
  raise(SIGSTOP);
  try {
    run(mark);
    _exit(exit_ok);
  } catch (const std::exception& failure) {
    print_error(failure.what());
  }
  _exit(exit_failed);
}

}  // namespace

Stepped step_through(const Functions& functions, const std::function<void(Mark mark)>& run,
                     const std::function<bool(const std::string& function)>& keeps_caller) {
  if (!can_step) return {.counts = {}, .unavailable = "not for this kind of processor"};
  if (functions.empty()) return {.counts = {}, .unavailable = "the program has no symbols"};
  const OneProcessor one_processor;
  const pid_t child = fork();
  if (child < 0) throw failure_of_errno(errno, "bench: fork");
  if (child == 0) be_the_child(run);
  Stepper stepper(child, functions, keeps_caller);
  if (!stepper.wait()) return {.counts = {}, .unavailable = "ptrace is not permitted here"};
  if (ptrace(PTRACE_SETOPTIONS, child, nullptr,
             reinterpret_cast<void*>(std::uintptr_t{PTRACE_O_EXITKILL})) != 0)
    return {.counts = {}, .unavailable = std::strerror(errno)};
  stepper.run_to_mark();
  return {.counts = stepper.count(), .unavailable = ""};
}

}  // namespace tool
