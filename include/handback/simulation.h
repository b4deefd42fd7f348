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
  std::uint64_t triples_one_in = 200;
  // Stops after so many states; 0: when all sequences are done.
  std::uint64_t states_max = 0;
  double seconds_max = 0;  // 0: no limit.
  // Sequences are shared out between processes: this one takes those that are `share` of `shares`.
  std::uint64_t share = 0;
  std::uint64_t shares = 1;
  std::uint64_t nested_one_in = 16;  // Of the states whose recovery writes; 0: none.
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

// --- long random runs (swarm.cc) ---

struct SwarmOptions {
  std::uint64_t first_seed = 1;
  std::uint64_t seeds = 1;
  double seconds_max = 0;  // 0: no limit.
  // This run takes the seeds that are `share` of `shares`.
  std::uint64_t share = 0;
  std::uint64_t shares = 1;
  std::uint64_t violations_max = 1;
  bool shrink = true;  // Reduce a failing run to the fewest operations.
  // Receives each line of what is done, for one seed.
  std::function<void(std::string_view)> tell = nullptr;
};

struct SwarmReport {
  std::uint64_t seeds = 0;
  std::uint64_t lives = 0;  // From opening to a power cut or a close.
  std::uint64_t operations = 0;
  std::uint64_t ios = 0;
  std::uint64_t states = 0;  // Images mounted, checked and read back.
  std::uint64_t nested = 0;
  std::uint64_t distinct = 0;
  std::uint64_t faults = 0;  // That hit.
  std::uint64_t simulated_ms = 0;
  std::uint64_t digest = 0;  // Of everything that was asked of the devices and found, seed by seed.
  std::vector<Violation> violations;
  double seconds = 0;
};
// Each seed gives a device, a mixture of operations, faults in some lives, and moments at which the
// power is cut; the volume lives on with what a cut left. The same seed gives the same digest.
[[nodiscard]] SwarmReport run_swarm(const SwarmOptions& options);

// --- faults (fault_matrix.cc) ---

struct FaultMatrixOptions {
  std::uint64_t nth_max = 24;  // Each bio in turn that the fault can hit, up to so many.
  std::uint64_t share = 0;     // Cells are shared out between processes.
  std::uint64_t shares = 1;
};

// One kind of fault under one kind of operation; how often which outcome was seen.
struct FaultCell {
  std::string fault;
  std::string operation;
  std::uint64_t runs = 0;
  std::uint64_t hits = 0;
  std::uint64_t tolerated = 0;  // Nothing was to be noticed.
  std::uint64_t reported = 0;   // A call failed, and what is left is what was promised.
  std::uint64_t detected = 0;   // Opening or check_volume() names the damage.
  std::uint64_t silent = 0;     // Wrong, and nobody says so: only where the device lied.
  std::uint64_t caught = 0;     // The program was stopped: the device broke the seam's contract.
};

struct FaultMatrixReport {
  std::vector<FaultCell> cells;
  std::uint64_t runs = 0;
  std::uint64_t states = 0;
  std::vector<Violation> violations;  // Outcomes that may not be, and cells that nothing reached.
  double seconds = 0;
};
[[nodiscard]] FaultMatrixReport run_fault_matrix(const FaultMatrixOptions& options = {});

}  // namespace handback::sim
