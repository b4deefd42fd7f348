// Programmer errors end the program with who, where and which rule; on in every build.
//
// Never for outcomes that data, devices or users decide: those are values (handback/error.h).
#pragma once

#include <source_location>
#include <string_view>

namespace handback {

// Prints "handback: rule broken: RULE", the failed condition, where, and `subject` if there is one
// (the request or object concerned), then aborts.
[[noreturn]] void rule_broken(
    const char* condition, std::string_view rule, std::string_view subject = {},
    std::source_location where = std::source_location::current()) noexcept;

}  // namespace handback

// `rule` is a sentence that says what must hold, for the reader of the crash.
#define HB_ASSERT(condition, rule)               \
  do {                                           \
    if (!(condition)) [[unlikely]]               \
      ::handback::rule_broken(#condition, rule); \
  } while (false)
