#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

#include "base/stack_trace.h"

namespace handback {

void rule_broken(const char* condition, std::string_view rule, std::string_view subject,
                 std::source_location where) noexcept {
  std::fprintf(stderr, "handback: rule broken: %.*s\n  condition: %s\n",
               static_cast<int>(rule.size()), rule.data(), condition);
  if (!subject.empty()) {
    std::fprintf(stderr, "  subject:   %.*s\n", static_cast<int>(subject.size()), subject.data());
  }
  std::fprintf(stderr, "  where:     %s:%u, %s\n", where.file_name(), where.line(),
               where.function_name());
  print_stack_trace();
  std::abort();
}

}  // namespace handback
