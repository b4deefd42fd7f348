#include "common/failure.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tool {
namespace {

std::string program_name = "handback";

std::string_view next_step(int host_errno) {
  switch (host_errno) {
    case ENOENT:
    case ENOTDIR:
      return "; check the path";
    case EACCES:
    case EPERM:
      return "; give this user access to it, or run as its owner";
    case ENOSPC:
    case EDQUOT:
      return "; free some space, or choose another disk";
    case EROFS:
      return "; choose a place that can be written to";
    case EMFILE:
      return "; raise the limit of open files (ulimit -n)";
    default:
      return "";
  }
}

}  // namespace

int exit_code_of(handback::Errc code, Phase phase) noexcept {
  using handback::Errc;
  switch (code) {
    case Errc::ok:
      return exit_ok;
    case Errc::damaged:
    case Errc::version:
      return exit_not_a_volume;
    case Errc::invalid:
    case Errc::is_a_directory:
      return phase == Phase::opening ? exit_not_a_volume : exit_failed;
    case Errc::busy:
      return exit_busy;
    case Errc::no_space:
    case Errc::too_large:
      return exit_no_space;
    case Errc::io:
    case Errc::poisoned:
    case Errc::timed_out:
      return exit_device;
    default:
      return exit_failed;
  }
}

Failure failure_of(const handback::Error& error, std::string_view what, Phase phase) {
  const std::string& message = error.message();
  const bool named = what.empty() || message.find(what) != std::string::npos;
  return Failure(exit_code_of(error.code(), phase),
                 named ? message : fmt::format("{}: {}", what, message));
}

Failure failure_of(handback::IoResult result, std::string_view what) {
  if (result.code() == handback::Errc::no_space && result.detail() == handback::IoDetail::none) {
    return Failure(
        exit_no_space,
        fmt::format("{}: no space; remove files from the volume, or format a larger one", what));
  }
  return Failure(exit_code_of(result.code(), Phase::using_volume),
                 fmt::format("{}: {}", what, handback::describe(result)));
}

Failure failure_of_errno(int host_errno, std::string_view what) {
  return Failure(exit_code_of(handback::errc_from_errno(host_errno), Phase::using_volume),
                 fmt::format("{}: {}{}", what, std::strerror(host_errno), next_step(host_errno)));
}

void print_error(std::string_view message) {
  fmt::print(stderr, "{}: {}\n", program_name, message);
}

void set_program_name(std::string_view name) {
  program_name = name;
}

}  // namespace tool
