// The simulator's programmes: power cuts at every moment of short sequences of operations, long
// random runs from a seed, and every kind of fault under every kind of operation. Each runs the
// production volume on a SimDevice and holds what it finds against a model of what was promised.
// docs/simulator.md says what is tried and what is held; `handback-sim` is the program.
//
// Each keeps memory that was freed for the process (mallopt), since it opens volumes by the
// million. Thread class: one thread, which has no other issuer in use meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace handback::sim {

struct Violation {
  std::string where;    // What replays it.
  std::string problem;  // What was found and what would have been allowed, with the operations.
};

// --- power cuts (crash_explorer.cc) ---

struct CrashOptions {
  // Sequences of two operations, all of them; of three, one in so many (0: none).
  std::uint64_t triples_one_in = 0;
  // Stops after so many states; 0: when all sequences are done.
  std::uint64_t states_max = 0;
  double seconds_max = 0;  // 0: no limit.
  // Sequences are shared out between processes: this one takes those that are `share` of `shares`.
  std::uint64_t share = 0;
  std::uint64_t shares = 1;
  std::uint64_t nested_one_in = 1;  // Of the states whose recovery writes; 0: none.
  std::uint64_t violations_max = 1;
  std::uint64_t seed = 1;
  // Only this sequence: "CACHE/BLOCK/MODE/OP,OP", as a violation says it.
  std::string only = {};
};

struct CrashReport {
  std::uint64_t states = 0;    // Images mounted, checked and read back.
  std::uint64_t tried = 0;     // Images made; those seen before with the same promises are not
                               // mounted again.
  std::uint64_t distinct = 0;  // Images with their promises, counted once.
  std::uint64_t nested = 0;    // Of the states: power cuts during recovery.
  std::uint64_t deepest = 0;   // How many recoveries were cut one in the other.
  std::uint64_t recoveries_that_wrote = 0;
  std::uint64_t used = 0;  // Recovered volumes that were used, closed and checked.
  std::uint64_t sequences = 0;
  std::uint64_t sequences_left = 0;  // That a limit kept from being run.
  std::uint64_t windows = 0;         // Moments at which the power was cut.
  std::uint64_t open_writes_max = 0;
  std::vector<Violation> violations;
  double seconds = 0;
};
[[nodiscard]] CrashReport explore_crashes(const CrashOptions& options);

}  // namespace handback::sim
