#include <fmt/format.h>
#include <handback/simulation.h>

#include "sim/sim_commands.h"

namespace sim_program {
namespace {

using handback::sim::SwarmOptions;
using handback::sim::SwarmReport;
using nlohmann::json;

json to_json(const SwarmReport& report) {
  return {{"seeds", report.seeds},
          {"lives", report.lives},
          {"operations", report.operations},
          {"ios", report.ios},
          {"states", report.states},
          {"distinct", report.distinct},
          {"nested", report.nested},
          {"faults", report.faults},
          {"simulated_ms", report.simulated_ms},
          {"digest", report.digest},
          {"found", found_json(report.violations)}};
}

}  // namespace

CLI::App* add_seed_command(CLI::App& app, SwarmOptions& options) {
  CLI::App* command = app.add_subcommand(
      "seed", "Random runs: devices, operations, faults and power cuts from a seed");
  command->add_option("seed", options.first_seed, "The first seed");
  command->add_option("--seeds", options.seeds, "How many, one after the other");
  command->add_option("--seconds", options.seconds_max, "Stop after so long (0: no limit)");
  command->add_flag("--shrink,!--no-shrink", options.shrink,
                    "Reduce a failing run to the fewest operations");
  return command;
}

int run_seeds(const SwarmOptions& options, const Output& output) {
  const unsigned jobs = options.seeds == 1 ? 1 : output.jobs;
  const auto started = std::chrono::steady_clock::now();
  json sum = run_shares(jobs, [&](unsigned share) {
    SwarmOptions own = options;
    own.share = share;
    own.shares = jobs;
    if (options.seeds == 1 && !output.json)
      own.tell = [](std::string_view line) { fmt::print("{}\n", line); };
    json result = to_json(handback::sim::run_swarm(own));
    std::fflush(stdout);
    return result;
  });
  finish(sum, started);
  if (output.json) {
    fmt::print("{}\n", sum.dump());
  } else if (sum.contains("seeds")) {
    fmt::print(
        "{} seeds, {} lives, {} operations, {} bios, {} faults that hit, {} s simulated\n"
        "{} states mounted, checked and read back ({} of them in recovery)\n"
        "digest {:016x}\n",
        sum["seeds"].get<std::uint64_t>(), sum["lives"].get<std::uint64_t>(),
        sum["operations"].get<std::uint64_t>(), sum["ios"].get<std::uint64_t>(),
        sum["faults"].get<std::uint64_t>(), sum["simulated_ms"].get<std::uint64_t>() / 1000,
        sum["states"].get<std::uint64_t>(), sum["nested"].get<std::uint64_t>(),
        sum["digest"].get<std::uint64_t>());
  }
  return end(sum, output, "./dev sim");
}

}  // namespace sim_program
