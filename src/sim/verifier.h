// Opens the image that stands on a device, reads all of it back, and holds it against a history;
// then cuts the power again while it recovers, up to three times.
#pragma once

#include <absl/container/flat_hash_set.h>
#include <handback/sim.h>
#include <string>

#include "sim/crash_window.h"
#include "sim/oracle.h"

namespace handback::sim {

// Images together with what had been promised: what was verified once needs no second time.
class SeenStates {
 public:
  // False if it was here before.
  [[nodiscard]] bool claim(const CrashFacts& facts);
  [[nodiscard]] std::size_t count() const noexcept { return states_.size(); }

 private:
  absl::flat_hash_set<std::uint64_t> states_;
};

struct VerifierCounts {
  std::uint64_t tried = 0;    // In recovery; also those seen before.
  std::uint64_t states = 0;   // Mounted, checked and read back.
  std::uint64_t nested = 0;   // Of these: power cuts during recovery.
  std::uint64_t deepest = 0;  // 1 to 3.
  std::uint64_t used = 0;     // Used and closed after recovery.
  std::uint64_t recoveries_that_wrote = 0;
};

class Verifier {
 public:
  Verifier(SimDevice& device, Issuer& issuer, SeenStates& seen)
      : device_(device), issuer_(issuer), seen_(seen) {}

  // Leaves the image as it was. Empty, or what is wrong.
  [[nodiscard]] std::string verify(const History& history, const CrashFacts& facts,
                                   unsigned nested_depth);
  // The volume as the last verify() found it.
  [[nodiscard]] const FoundVolume& found() const noexcept { return found_; }
  [[nodiscard]] const VerifierCounts& counts() const noexcept { return counts_; }
  // Every so many states the recovered volume is used, closed and checked.
  void use_every(std::uint64_t states) noexcept { use_every_ = states; }

 private:
  std::string open_and_judge(const History& history, const CrashFacts& facts, FoundVolume* found,
                             bool* wrote);
  std::string check(bool torn, const FoundVolume& found);
  std::string use();
  std::string crash_in_recovery(const History& history, const CrashFacts& facts,
                                const SimRecord& record, unsigned depth, unsigned depth_max);

  SimDevice& device_;
  Issuer& issuer_;
  SeenStates& seen_;
  FoundVolume found_;
  FoundVolume again_;
  VerifierCounts counts_;
  std::uint64_t use_every_ = 16;
};

}  // namespace handback::sim
