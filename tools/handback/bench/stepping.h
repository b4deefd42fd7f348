// What a piece of code executes, exactly: a child process runs it, and is stepped through it one
// instruction after the other (ptrace). Needs no counters of the processor, which virtual machines
// seldom have, and counts the same on every run.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "handback/bench/functions.h"

namespace tool {

// In user mode; what the kernel does in a system call is not in it.
struct StepCounts {
  std::uint64_t instructions = 0;
  std::uint64_t system_calls = 0;
  std::uint64_t allocations = 0;  // Calls of malloc() and its like.
  // By the function that they stand in, what was inlined into it included. Those outside the
  // program, and those that `keeps_caller` says so of, count for the function they were called
  // from.
  std::map<std::string, std::uint64_t> by_function;
};

struct Stepped {
  StepCounts counts;
  std::string unavailable;  // Why nothing could be counted here; empty if it was.
};

// Forks. The child calls `run`, which prepares what it needs, calls `mark`, does what is to be
// counted, and calls `mark` again; it ends there, without a destructor. A handful of instructions
// around the marks is counted with it.
// Requires: the process has one thread. Throws Failure if the child fails, or a signal asked the
// program to stop.
using Mark = void (*)();
[[nodiscard]] Stepped step_through(
    const Functions& functions, const std::function<void(Mark mark)>& run,
    const std::function<bool(const std::string& function)>& keeps_caller);

}  // namespace tool
