// Switches on the deliberate mistake that HB_PLANTED_BUG names, for all tests of this program; only
// a build with HANDBACK_PLANTED_BUGS has any.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "base/planted_bug.h"

#if defined(HANDBACK_PLANTED_BUGS)
namespace handback {
namespace {

class SwitchedOn : public ::testing::Environment {
 public:
  void SetUp() override {
    const char* name = std::getenv("HB_PLANTED_BUG");
    if (name == nullptr) return;
    for (const PlantedBugInfo& info : planted_bugs) {
      if (info.name == std::string_view(name)) {
        planted_bug = info.bug;
        return;
      }
    }
    FAIL() << "HB_PLANTED_BUG: there is no mistake of the name " << name;
  }
};

[[maybe_unused]] const auto* const switched_on =
    ::testing::AddGlobalTestEnvironment(new SwitchedOn);

}  // namespace
}  // namespace handback
#endif
