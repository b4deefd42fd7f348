// Deliberate mistakes, each switched on alone in a build of its own, to measure the tests: whatever
// of them the tests do not notice is a hole in the tests.
//
//   if (planted(PlantedBug::journal_no_flush_after)) return;
//
// Only a build with HANDBACK_PLANTED_BUGS contains them; everywhere else planted() is a constant.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace handback {

enum class PlantedBug : std::uint16_t {
  none,
#define HB_PLANTED_BUG(name, what) name,
#include "base/planted_bugs.inc"
#undef HB_PLANTED_BUG
};

struct PlantedBugInfo {
  PlantedBug bug;
  std::string_view name;
  std::string_view what;
};

inline constexpr PlantedBugInfo planted_bugs[] = {
    {PlantedBug::none, "none", "nothing"},
#define HB_PLANTED_BUG(name, what) {PlantedBug::name, #name, what},
#include "base/planted_bugs.inc"
#undef HB_PLANTED_BUG
};

#if defined(HANDBACK_PLANTED_BUGS)
inline std::atomic<PlantedBug> planted_bug{PlantedBug::none};

[[nodiscard]] inline bool planted(PlantedBug bug) noexcept {
  return planted_bug.load(std::memory_order_relaxed) == bug;
}
#else
[[nodiscard]] constexpr bool planted(PlantedBug /*bug*/) noexcept {
  return false;
}
#endif

}  // namespace handback
