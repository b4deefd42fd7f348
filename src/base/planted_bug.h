// Deliberate mistakes, each switched on alone in a build of its own, to measure the tests: whatever
// of them the tests do not notice is a hole in the tests.
//
//   if (planted(PlantedBug::journal_no_flush_after)) return;
//
// HB_PLANTED_BUG=journal_no_flush_after in the environment of any program switches it on.
//
// Only a build with HANDBACK_PLANTED_BUGS contains them; everywhere else planted() is a constant.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#if defined(HANDBACK_PLANTED_BUGS)
#include <cstdio>
#include <cstdlib>
#include <type_traits>
#endif

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
// What the environment asks for, in every program of such a build: HB_PLANTED_BUG=NAME. A name that
// does not exist must not look like a mistake that was found.
[[nodiscard]] inline PlantedBug planted_bug_asked_for() noexcept {
  const char* name = std::getenv("HB_PLANTED_BUG");
  if (name == nullptr) return PlantedBug::none;
  for (const PlantedBugInfo& info : planted_bugs) {
    if (info.name == std::string_view(name)) return info.bug;
  }
  std::fprintf(stderr, "HB_PLANTED_BUG: there is no mistake of the name %s\n", name);
  std::_Exit(3);
}

inline std::atomic<PlantedBug> planted_bug{planted_bug_asked_for()};

// For constant expressions, too, which have none: beware of a `const` integer whose initializer
// would be a constant without the mistake.
[[nodiscard]] constexpr bool planted(PlantedBug bug) noexcept {
  if (std::is_constant_evaluated()) {
    return false;
  } else {
    return planted_bug.load(std::memory_order_relaxed) == bug;
  }
}
#else
[[nodiscard]] constexpr bool planted(PlantedBug /*bug*/) noexcept {
  return false;
}
#endif

}  // namespace handback
