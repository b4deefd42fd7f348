// handback-exerciser: random operations on one file, held against a copy of it in memory.
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "exerciser/run.h"

namespace {

constexpr int exit_violation = 1;
constexpr int exit_usage = 2;

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Random operations on one file, held against a copy of it in memory",
               "handback-exerciser");
  std::string device;
  std::uint64_t operations = 100'000;
  std::uint64_t seed = 1;
  bool json = false;
  std::string names;
  for (const exerciser::DeviceKind& kind : exerciser::device_kinds())
    names += std::string(names.empty() ? "" : ", ") + kind.name;
  app.add_option("--device", device, "One of: " + names + "; without it, each in turn");
  app.add_option("--operations", operations, "How many on each")->capture_default_str();
  app.add_option("--seed", seed, "Of the first episode; the next has the next")
      ->capture_default_str();
  app.add_flag("--json", json, "Counters as JSON");
  try {
    app.parse(argc, argv);
    if (!device.empty() && exerciser::find_device_kind(device) == nullptr)
      throw CLI::ValidationError("--device", device + ": it is one of " + names);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }

  exerciser::tell_on_signals();
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  bool found = false;
  std::uint64_t operations_done = 0;
  std::uint64_t violations = 0;
  for (const exerciser::DeviceKind& kind : exerciser::device_kinds()) {
    if (!device.empty() && device != kind.name) continue;
    const exerciser::RunReport report =
        exerciser::run_exerciser({.device = &kind, .operations = operations, .seed = seed});
    found |= !report.violation.empty();
    if (!report.violation.empty()) std::cerr << kind.name << ": " << report.violation << '\n';
    violations += report.violation.empty() ? 0 : 1;
    const exerciser::EpisodeCounters& counters = report.counters;
    operations_done += counters.lanes.operations;
    const double per_second =
        report.seconds == 0 ? 0 : static_cast<double>(counters.lanes.operations) / report.seconds;
    if (json) {
      all.push_back({{"device", kind.name},
                     {"seed", seed},
                     {"operations", counters.lanes.operations},
                     {"episodes", report.episodes},
                     {"seconds", report.seconds},
                     {"operations_per_second", per_second},
                     {"bytes_read", counters.lanes.bytes_read},
                     {"bytes_written", counters.lanes.bytes_written},
                     {"ambiguous", counters.lanes.ambiguous},
                     {"would_block", counters.lanes.would_block},
                     {"shorter", counters.lanes.shorter},
                     {"calls", counters.controls},
                     {"kills", counters.kills},
                     {"power_cuts", counters.power_cuts},
                     {"faults", counters.faults},
                     {"told", counters.told},
                     {"evictions", counters.evictions},
                     {"pages_written", counters.pages_written},
                     {"cache_bytes_most", counters.cache_bytes_most},
                     {"skipped", report.skipped},
                     {"violation", report.violation}});
    } else if (!report.skipped.empty()) {
      std::cout << kind.name << ": skipped: " << report.skipped << '\n';
    } else {
      std::cout << kind.name << ": " << counters.lanes.operations << " operations in "
                << report.episodes << " episodes, " << static_cast<std::uint64_t>(per_second)
                << " a second; " << counters.kills << " kills, " << counters.power_cuts
                << " power cuts, " << counters.faults << " faults; "
                << (report.violation.empty() ? "nothing wrong" : "WRONG") << '\n';
    }
  }
  if (json) {
    const nlohmann::ordered_json out = {{"program", "handback-exerciser"},
                                        {"operations", operations_done},
                                        {"violations", violations},
                                        {"runs", all}};
    std::cout << out.dump(2) << '\n';
  }
  return found ? exit_violation : 0;
}
