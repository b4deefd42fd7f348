// The subcommands of handback-sim, and what they share: work shared out between processes, counters
// added up, and one way to end.
#pragma once

#include <handback/simulation.h>
#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sim_program {

// Exit codes, which other programs rely on.
inline constexpr int exit_ok = 0;
inline constexpr int exit_violation = 1;
inline constexpr int exit_usage = 2;

struct Output {
  bool json = false;
  unsigned jobs = 1;
};

[[nodiscard]] nlohmann::json found_json(const std::vector<handback::sim::Violation>& violations);

// Runs `run(0)` to `run(jobs - 1)`, each in a process of its own (one thread and one set of
// allocations each), and adds up: numbers are summed, but what ends in `_max` or is `deepest` is
// the largest; lists are joined. A process that dies is a violation.
[[nodiscard]] nlohmann::json run_shares(unsigned jobs,
                                        const std::function<nlohmann::json(unsigned share)>& run);

// Adds `violations` and `seconds`.
void finish(nlohmann::json& sum, std::chrono::steady_clock::time_point started);

// Prints what was found to standard error, and returns the exit code.
[[nodiscard]] int end(const nlohmann::json& sum, const Output& output, const std::string& replay);

CLI::App* add_crash_command(CLI::App& app, handback::sim::CrashOptions& options);
[[nodiscard]] int run_crash(const handback::sim::CrashOptions& options, const Output& output);

CLI::App* add_seed_command(CLI::App& app, handback::sim::SwarmOptions& options);
[[nodiscard]] int run_seeds(const handback::sim::SwarmOptions& options, const Output& output);

CLI::App* add_faults_command(CLI::App& app, handback::sim::FaultMatrixOptions& options);
[[nodiscard]] int run_faults(const handback::sim::FaultMatrixOptions& options,
                             const Output& output);

}  // namespace sim_program
