// The names that writer and verifier agree on.
#pragma once

#include <fmt/format.h>

#include <string>

namespace tool::kill_loops {

inline constexpr const char* log_path = "/log";

[[nodiscard]] inline std::string folder_of(unsigned thread) {
  return fmt::format("/t{}", thread);
}
[[nodiscard]] inline std::string name_of(unsigned thread, unsigned slot, std::uint32_t number) {
  return fmt::format("/t{}/f{}.{}", thread, slot, number);
}
[[nodiscard]] inline std::string link_of(unsigned thread, unsigned slot) {
  return fmt::format("/t{}/f{}.link", thread, slot);
}
[[nodiscard]] inline std::string next_of(unsigned thread, unsigned slot) {
  return fmt::format("/t{}/f{}.next", thread, slot);
}

}  // namespace tool::kill_loops
