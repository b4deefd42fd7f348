// How a program of this folder fails: one sentence for the user, and one exit code for scripts.
//
// The library returns errors as values; at the top of a program they all lead to the same place, so
// here they are thrown. Nothing is thrown through the library: its callbacks are noexcept.
#pragma once

#include <handback/error.h>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace tool {

// Documented in `handback --help`: scripts rely on the numbers.
enum ExitCode : int {
  exit_ok = 0,
  exit_failed = 1,
  exit_usage = 2,
  exit_not_a_volume = 3,
  exit_busy = 4,
  exit_no_space = 5,
  exit_device = 6,
  exit_signal_base = 128,  // Plus the number of the signal that stopped the program, as shells do.
};

class Failure : public std::exception {
 public:
  Failure(int exit_code, std::string message)
      : exit_code_(exit_code), message_(std::move(message)) {}

  [[nodiscard]] int exit_code() const noexcept { return exit_code_; }
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

 private:
  int exit_code_;
  std::string message_;
};

// What was being done decides what a code means: `invalid` from opening says "no volume here", from
// naming a file it says "not a name".
enum class Phase { opening, using_volume };

[[nodiscard]] int exit_code_of(handback::Errc code, Phase phase) noexcept;

// The library's sentence, led by the thing it is about unless it begins with it anyway.
[[nodiscard]] Failure failure_of(const handback::Error& error, std::string_view what,
                                 Phase phase = Phase::using_volume);
[[nodiscard]] Failure failure_of(handback::IoResult result, std::string_view what);
[[nodiscard]] Failure failure_of_errno(int host_errno, std::string_view what);

template <typename T>
T value_of(handback::Result<T>&& result, std::string_view what, Phase phase = Phase::using_volume) {
  if (!result) throw failure_of(result.error(), what, phase);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// Prints "PROGRAM: message" to standard error.
void print_error(std::string_view message);

// The name that leads every message. Set once, at the start of main().
void set_program_name(std::string_view name);

}  // namespace tool
