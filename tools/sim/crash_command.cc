#include <fmt/format.h>
#include <handback/simulation.h>

#include <algorithm>

#include "sim/sim_commands.h"

namespace sim_program {
namespace {

using handback::sim::CrashOptions;
using handback::sim::CrashReport;
using nlohmann::json;

json to_json(const CrashReport& report) {
  return {{"states", report.states},
          {"tried", report.tried},
          {"distinct", report.distinct},
          {"nested", report.nested},
          {"deepest", report.deepest},
          {"recoveries_that_wrote", report.recoveries_that_wrote},
          {"used", report.used},
          {"sequences", report.sequences},
          {"sequences_left", report.sequences_left},
          {"windows", report.windows},
          {"open_writes_max", report.open_writes_max},
          {"found", found_json(report.violations)}};
}

}  // namespace

CLI::App* add_crash_command(CLI::App& app, CrashOptions& options) {
  CLI::App* command = app.add_subcommand(
      "crash", "Cuts the power at every moment of every short sequence of operations");
  command->add_option("--triples-one-in", options.triples_one_in,
                      "Of the sequences of three, one in so many (0: none)");
  command->add_option("--states", options.states_max, "Stop after so many states (0: at the end)");
  command->add_option("--seconds", options.seconds_max, "Stop after so long (0: no limit)");
  command->add_option("--nested-one-in", options.nested_one_in,
                      "Of the recoveries that write, cut one in so many (0: none)");
  command->add_option("--only", options.only, "One sequence, as a violation names it");
  command->add_option("--seed", options.seed,
                      "Of the order in which bios end, and of what is sampled");
  return command;
}

int run_crash(const CrashOptions& options, const Output& output) {
  const unsigned jobs = options.only.empty() ? output.jobs : 1;
  const auto started = std::chrono::steady_clock::now();
  json sum = run_shares(jobs, [&](unsigned share) {
    CrashOptions own = options;
    own.share = share;
    own.shares = jobs;
    own.states_max = options.states_max / jobs;
    return to_json(handback::sim::explore_crashes(own));
  });
  finish(sum, started);
  const double seconds = sum["seconds"];
  sum["states_per_second_per_job"] =
      seconds > 0 ? sum["states"].get<double>() / seconds / jobs : 0.0;
  if (output.json) {
    fmt::print("{}\n", sum.dump());
  } else {
    fmt::print(
        "{} states mounted, checked and read back ({} of them in recovery, up to {} deep); "
        "{} images tried, {} distinct\n"
        "{} sequences, {} left out by a limit; {} moments; up to {} writes open\n"
        "{} recoveries wrote, {} volumes used again; {:.0f} states a second for each of {} jobs\n",
        sum["states"].get<std::uint64_t>(), sum["nested"].get<std::uint64_t>(),
        sum["deepest"].get<std::uint64_t>(), sum["tried"].get<std::uint64_t>(),
        sum["distinct"].get<std::uint64_t>(), sum["sequences"].get<std::uint64_t>(),
        sum["sequences_left"].get<std::uint64_t>(), sum["windows"].get<std::uint64_t>(),
        sum["open_writes_max"].get<std::uint64_t>(),
        sum["recoveries_that_wrote"].get<std::uint64_t>(), sum["used"].get<std::uint64_t>(),
        sum["states_per_second_per_job"].get<double>(), jobs);
  }
  return end(sum, output, "handback-sim crash --only");
}

}  // namespace sim_program
