#include <fmt/format.h>

#include <handback/volume.h>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/volume_session.h"
#include "handback/bench/bench_command.h"
#include "handback/bench/bench_files.h"
#include "handback/bench/bench_volume.h"
#include "handback/bench/load_options.h"
#include "handback/bench/plain_ring.h"
#include "handback/bench/statistics.h"

namespace tool {
namespace {

struct OverwriteArguments {
  std::string volume;
  std::string directory = ".";
  LoadOptions load{.depths = {1, 16}};
  bool json = false;
};

struct Samples {
  std::vector<double> iops;
  std::vector<double> p50_ns;
  std::vector<double> p99_ns;

  void add(const RunResult& result) {
    iops.push_back(result.iops());
    p50_ns.push_back(static_cast<double>(result.p50_ns));
    p99_ns.push_back(static_cast<double>(result.p99_ns));
  }
};

struct DepthResult {
  unsigned depth = 0;
  Samples handback;
  Samples plain;
};

double ratio(const DepthResult& result) {
  return median(result.handback.iops) / median(result.plain.iops);
}

std::vector<DepthResult> measure(const OverwriteArguments& arguments, const std::string& volume,
                                 const std::string& plain_file, const Context& context) {
  VolumeSession session(volume, context.writing());
  const auto file =
      make_written_file(session.volume(), session.issuer(), arguments.load.file_bytes);
  PlainRing plain(plain_file, arguments.load.depth_max());

  std::vector<DepthResult> results;
  Progress progress("overwriting", Progress::Unit::runs);
  std::uint64_t runs_done = 0;
  const std::uint64_t runs = 2 * arguments.load.depths.size() * arguments.load.repeats;
  for (const unsigned depth : arguments.load.depths) {
    DepthResult result{.depth = depth, .handback = {}, .plain = {}};
    for (unsigned repeat = 0; repeat < arguments.load.repeats; ++repeat) {
      const OverwriteLoad load = arguments.load.load(depth, repeat);
      result.handback.add(overwrite_through(session.issuer(), *file, load));
      progress.update(++runs_done, runs);
      result.plain.add(plain.overwrite(load));
      progress.update(++runs_done, runs);
    }
    results.push_back(std::move(result));
  }
  return results;
}

nlohmann::ordered_json bench_json(const std::vector<DepthResult>& results) {
  auto rows = nlohmann::ordered_json::array();
  auto ratios = nlohmann::ordered_json::array();
  for (const auto& result : results) {
    const auto add_row = [&](const char* target, const Samples& samples) {
      rows.push_back({{"target", target},
                      {"qd", result.depth},
                      {"iops", median(samples.iops)},
                      {"p50_ns", median(samples.p50_ns)},
                      {"p99_ns", median(samples.p99_ns)}});
    };
    add_row("handback", result.handback);
    add_row("plain", result.plain);
    const PairRatios pairs = pair_ratios(result.handback.iops, result.plain.iops);
    ratios.push_back({{"qd", result.depth},
                      {"handback_over_plain", ratio(result)},
                      {"pair_min", pairs.least},
                      {"pair_max", pairs.most}});
  }
  return {{"bench", "overwrite"}, {"rows", std::move(rows)}, {"ratios", std::move(ratios)}};
}

void print_results(const OverwriteArguments& arguments, const std::vector<DepthResult>& results) {
  fmt::print("4 KiB random overwrites of {}, {} of {:g} s each, medians\n\n",
             human_size(arguments.load.file_bytes),
             count_of(arguments.load.repeats, "pair of runs", "pairs of runs"),
             arguments.load.seconds);
  Table table({Align::right, Align::left, Align::right, Align::right, Align::right, Align::left});
  table.add_row(
      {"depth", "target", "IOPS", "p50 us", "p99 us", "over plain (least to most of the pairs)"});
  for (const auto& result : results) {
    const PairRatios pairs = pair_ratios(result.handback.iops, result.plain.iops);
    const auto add_row = [&](const char* target, const Samples& samples, const std::string& over) {
      table.add_row({fmt::format("{}", result.depth), target,
                     grouped(static_cast<std::uint64_t>(median(samples.iops))),
                     fmt::format("{:.1f}", median(samples.p50_ns) / 1e3),
                     fmt::format("{:.1f}", median(samples.p99_ns) / 1e3), over});
    };
    add_row("handback", result.handback,
            fmt::format("{:.3f} ({:.3f} to {:.3f})", ratio(result), pairs.least, pairs.most));
    add_row("plain", result.plain, "");
  }
  table.print(stdout);
}

int run_overwrite(const OverwriteArguments& arguments, const Context& context) {
  require_sensible(arguments.load);
  const InterruptGuard guard;
  BenchFiles files;
  std::string volume = arguments.volume;
  std::string plain = arguments.volume + ".plain";
  if (volume.empty()) {
    const std::string folder = files.make_folder(arguments.directory);
    volume = folder + "/volume.img";
    plain = folder + "/plain.dat";
  }
  files.create(volume, bench_volume_bytes(arguments.load.file_bytes));
  files.create(plain, arguments.load.file_bytes);
  {
    const DeviceSession session(volume, context.writing());
    value_of(handback::Volume::format(session.issuer(), session.device()), volume);
  }
  const std::vector<DepthResult> results = measure(arguments, volume, plain, context);
  if (arguments.json) {
    fmt::print("{}\n", json_text(bench_json(results)));
  } else {
    print_results(arguments, results);
  }
  return exit_ok;
}

}  // namespace

void add_overwrite_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<OverwriteArguments>();
  CLI::App* command = add_command(
      bench,
      {.group = "Benchmarks",
       .name = "overwrite",
       .description = "4 KiB random overwrites through a volume, against plain io_uring",
       .usage =
           "bench overwrite [--dir DIR | --volume FILE] [--qd 1,16] [--seconds S] [--repeats R]\n"
           "                                [--size SIZE] [--json]",
       .footer =
           R"(Makes two host files side by side, one with a volume, writes both in full, and
overwrites them in turns: through the volume, then by io_uring with the best
settings the kernel has (one issuer, deferred task work, registered file and
buffers). The files are new and are removed at the end.

Examples:
  handback bench overwrite --dir /var/tmp --qd 1,16
  handback bench overwrite --volume /mnt/fast/bench.img --seconds 5 --repeats 9 --json
)"});
  CLI::Option* directory =
      command->add_option("--dir", arguments->directory, "Where to make the files; default: here")
          ->type_name("DIR");
  command
      ->add_option("--volume", arguments->volume,
                   "The volume's file, which must not exist; FILE.plain is the other")
      ->type_name("FILE")
      ->excludes(directory);
  add_load_options(*command, &arguments->load);
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_overwrite(*arguments, context); };
  });
}

}  // namespace tool
