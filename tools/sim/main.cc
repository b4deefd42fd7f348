// handback-sim: runs the production code on a simulated device. docs/simulator.md.
#include <algorithm>
#include <thread>

#include "sim/sim_commands.h"

int main(int argc, char** argv) {
  using namespace sim_program;
  CLI::App app(
      "Holds Handback's promises against power cuts, faults and random runs, in simulation.");
  app.require_subcommand(1);
  Output output;
  output.jobs = std::max(1U, std::thread::hardware_concurrency());
  app.add_flag("--json", output.json, "Print the counters as JSON");
  app.add_option("--jobs", output.jobs, "Processes that share the work")->check(CLI::Range(1, 256));
  app.fallthrough();

  handback::sim::CrashOptions crash;
  const CLI::App* const crash_command = add_crash_command(app, crash);
  handback::sim::SwarmOptions seeds;
  const CLI::App* const seed_command = add_seed_command(app, seeds);
  handback::sim::FaultMatrixOptions faults;
  const CLI::App* const faults_command = add_faults_command(app, faults);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_ok : exit_usage;
  }
  if (crash_command->parsed()) return run_crash(crash, output);
  if (seed_command->parsed()) return run_seeds(seeds, output);
  if (faults_command->parsed()) return run_faults(faults, output);
  return exit_usage;
}
