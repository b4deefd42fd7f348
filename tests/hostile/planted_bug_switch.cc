// Switches on the deliberate mistake that HB_PLANTED_BUG names; in builds with
// HANDBACK_PLANTED_BUGS.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "base/planted_bug.h"

namespace handback {
namespace {

class SwitchedOn : public ::testing::Environment {
 public:
  void SetUp() override {
    const char* name = std::getenv("HB_PLANTED_BUG");
    if (name == nullptr) return;
    for (const PlantedBugInfo& info : planted_bugs) {
      if (info.name != std::string_view(name)) continue;
      planted_bug = info.bug;
      return;
    }
    FAIL() << "HB_PLANTED_BUG: there is no mistake of the name " << name;
  }
};

[[maybe_unused]] const auto* const switched_on =
    ::testing::AddGlobalTestEnvironment(new SwitchedOn);

}  // namespace
}  // namespace handback
