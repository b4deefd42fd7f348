#include <fmt/format.h>
#include <handback/simulation.h>

#include "sim/sim_commands.h"

namespace sim_program {
namespace {

using handback::sim::FaultCell;
using handback::sim::FaultMatrixOptions;
using handback::sim::FaultMatrixReport;
using nlohmann::json;

json to_json(const FaultMatrixReport& report) {
  json cells = json::array();
  for (const FaultCell& cell : report.cells) {
    cells.push_back({{"fault", cell.fault},
                     {"operation", cell.operation},
                     {"runs", cell.runs},
                     {"hits", cell.hits},
                     {"tolerated", cell.tolerated},
                     {"reported", cell.reported},
                     {"detected", cell.detected},
                     {"silent", cell.silent},
                     {"caught", cell.caught}});
  }
  return {{"cells", cells},
          {"runs", report.runs},
          {"states", report.states},
          {"found", found_json(report.violations)}};
}

// One line a fault; each outcome as often as it was seen over all operations.
void print_table(const json& cells) {
  struct Line {
    std::string fault;
    std::uint64_t operations = 0;
    std::uint64_t counts[6] = {};
  };
  constexpr const char* keys[] = {"runs", "tolerated", "reported", "detected", "silent", "caught"};
  std::vector<Line> lines;
  for (const json& cell : cells) {
    const std::string fault = cell["fault"];
    auto line = std::find_if(lines.begin(), lines.end(),
                             [&](const Line& known) { return known.fault == fault; });
    if (line == lines.end()) line = lines.insert(lines.end(), Line{fault});
    line->operations += cell["hits"].get<std::uint64_t>() != 0 ? 1 : 0;
    for (std::size_t i = 0; i < std::size(keys); ++i)
      line->counts[i] += cell[keys[i]].get<std::uint64_t>();
  }
  fmt::print("{:<22} {:>10} {:>6} {:>10} {:>9} {:>9} {:>7} {:>7}\n", "fault", "operations", "runs",
             "tolerated", "reported", "detected", "silent", "caught");
  for (const Line& line : lines) {
    fmt::print("{:<22} {:>10} {:>6} {:>10} {:>9} {:>9} {:>7} {:>7}\n", line.fault, line.operations,
               line.counts[0], line.counts[1], line.counts[2], line.counts[3], line.counts[4],
               line.counts[5]);
  }
}

}  // namespace

CLI::App* add_faults_command(CLI::App& app, FaultMatrixOptions& options) {
  CLI::App* command =
      app.add_subcommand("faults", "Every kind of fault under every kind of operation");
  command->add_option("--nth", options.nth_max, "Of each operation's bios, try the first so many");
  return command;
}

int run_faults(const FaultMatrixOptions& options, const Output& output) {
  const auto started = std::chrono::steady_clock::now();
  json sum = run_shares(output.jobs, [&](unsigned share) {
    FaultMatrixOptions own = options;
    own.share = share;
    own.shares = output.jobs;
    return to_json(handback::sim::run_fault_matrix(own));
  });
  finish(sum, started);
  if (sum.contains("cells")) {
    std::uint64_t pairs = 0;
    for (const json& cell : sum["cells"])
      pairs += cell["hits"].get<std::uint64_t>() != 0 ? 1 : 0;
    sum["pairs"] = pairs;
  }
  if (output.json) {
    fmt::print("{}\n", sum.dump());
  } else if (sum.contains("cells")) {
    print_table(sum["cells"]);
    fmt::print("{} of {} pairs hit, {} runs, {} states mounted, checked and read back\n",
               sum["pairs"].get<std::uint64_t>(), sum["cells"].size(),
               sum["runs"].get<std::uint64_t>(), sum["states"].get<std::uint64_t>());
  }
  return end(sum, output, "handback-sim faults #");
}

}  // namespace sim_program
