#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/transfer_ring.h"
#include "handback/command_line.h"
#include "handback/overwrite_load.h"

namespace tool {
namespace {

constexpr const char* bench_file_path = "/overwrite";
constexpr std::uint64_t volume_overhead_bytes = 64U << 20;
constexpr std::uint64_t warm_up_ns = 200'000'000;

struct BenchArguments {
  std::string volume;
  std::string directory = ".";
  std::vector<unsigned> depths{1, 16};
  double seconds = 2;
  unsigned repeats = 5;
  std::uint64_t file_bytes = 256U << 20;
  bool json = false;
};

// Two new host files side by side, and nothing of them left afterwards.
class BenchFiles {
 public:
  explicit BenchFiles(const BenchArguments& arguments) {
    if (!arguments.volume.empty()) {
      volume = arguments.volume;
      plain = arguments.volume + ".plain";
    } else {
      std::string pattern = arguments.directory + "/handback-bench-XXXXXX";
      if (mkdtemp(pattern.data()) == nullptr) throw failure_of_errno(errno, arguments.directory);
      directory_ = pattern;
      volume = pattern + "/volume.img";
      plain = pattern + "/plain.dat";
    }
  }
  BenchFiles(const BenchFiles&) = delete;
  BenchFiles& operator=(const BenchFiles&) = delete;
  ~BenchFiles() {
    for (const auto& path : created_)
      unlink(path.c_str());
    if (!directory_.empty()) rmdir(directory_.c_str());
  }

  // Fails if the path exists: only what was made here is ever written to.
  void create(const std::string& path, std::uint64_t size_bytes) {
    Progress progress("writing " + path);
    const auto created = handback::create_host_file(
        path, size_bytes, [&progress](std::uint64_t done_bytes, std::uint64_t total_bytes) {
          progress.update(done_bytes, total_bytes);
          return interrupted_by() == 0;
        });
    value_of(handback::Result<void>(created), path);
    created_.push_back(path);
  }

  std::string volume;
  std::string plain;

 private:
  std::string directory_;
  std::vector<std::string> created_;
};

struct Samples {
  std::vector<double> iops;
  std::vector<double> p50_ns;
  std::vector<double> p99_ns;

  void add(const OverwriteResult& result) {
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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle - 1] + values[middle]) / 2;
}

// Of each repeat's pair, which ran right after one another.
std::vector<double> pair_ratios(const DepthResult& result) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < result.plain.iops.size(); ++i) {
    ratios.push_back(result.handback.iops[i] / result.plain.iops[i]);
  }
  return ratios;
}

double ratio(const DepthResult& result) {
  return median(result.handback.iops) / median(result.plain.iops);
}

// Every block written once, so that the measured writes are pure overwrites.
void write_whole(handback::Issuer& issuer, handback::File& file, std::uint64_t file_bytes) {
  TransferRing ring(issuer);
  std::uint64_t next_offset = 0;
  while (next_offset < file_bytes || !ring.empty()) {
    if (next_offset < file_bytes && !ring.full()) {
      Transfer& transfer = ring.claim();
      transfer.offset = next_offset;
      const auto length = static_cast<std::uint32_t>(
          std::min<std::uint64_t>(ring.transfer_bytes(), file_bytes - next_offset));
      next_offset += length;
      ring.submit_write(transfer, file, length);
    } else {
      const handback::IoResult result = ring.oldest().result;
      if (!result.ok()) throw failure_of(result, bench_file_path);
      ring.release_oldest();
    }
  }
}

void stop_if_interrupted() {
  if (interrupted_by() != 0) {
    throw Failure(exit_signal_base + interrupted_by(),
                  "bench: stopped by a signal; its files were removed");
  }
}

std::vector<DepthResult> measure(const BenchArguments& arguments, const BenchFiles& files,
                                 const Context& context) {
  VolumeSession session(files.volume, context.writing());
  const auto file =
      value_of(session.volume().open_file(session.issuer(), bench_file_path,
                                          {.create = true, .exclusive = true, .truncate = false}),
               bench_file_path);
  write_whole(session.issuer(), *file, arguments.file_bytes);
  value_of(session.volume().sync(session.issuer()), files.volume);
  PlainRing plain(files.plain, *std::max_element(arguments.depths.begin(), arguments.depths.end()));

  std::vector<DepthResult> results;
  Progress progress("overwriting");
  std::uint64_t runs_done = 0;
  const std::uint64_t runs = 2 * arguments.depths.size() * arguments.repeats;
  for (const unsigned depth : arguments.depths) {
    DepthResult result{.depth = depth, .handback = {}, .plain = {}};
    for (unsigned repeat = 0; repeat < arguments.repeats; ++repeat) {
      const OverwriteLoad load{.depth = depth,
                               .file_bytes = arguments.file_bytes,
                               .seed = repeat + 1,
                               .warm_up_ns = warm_up_ns,
                               .measured_ns = static_cast<std::uint64_t>(arguments.seconds * 1e9)};
      result.handback.add(overwrite_through(session.issuer(), *file, load));
      progress.update(++runs_done, runs);
      stop_if_interrupted();
      result.plain.add(plain.overwrite(load));
      progress.update(++runs_done, runs);
      stop_if_interrupted();
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
    const auto pairs = pair_ratios(result);
    ratios.push_back({{"qd", result.depth},
                      {"handback_over_plain", ratio(result)},
                      {"pair_min", *std::min_element(pairs.begin(), pairs.end())},
                      {"pair_max", *std::max_element(pairs.begin(), pairs.end())}});
  }
  return {{"bench", "overwrite"}, {"rows", std::move(rows)}, {"ratios", std::move(ratios)}};
}

void print_results(const BenchArguments& arguments, const std::vector<DepthResult>& results) {
  fmt::print("4 KiB random overwrites of {}, {} of {:g} s each, medians\n\n",
             human_size(arguments.file_bytes),
             count_of(arguments.repeats, "pair of runs", "pairs of runs"), arguments.seconds);
  Table table({Align::right, Align::left, Align::right, Align::right, Align::right, Align::left});
  table.add_row(
      {"depth", "target", "IOPS", "p50 us", "p99 us", "over plain (least to most of the pairs)"});
  for (const auto& result : results) {
    const auto pairs = pair_ratios(result);
    const auto add_row = [&](const char* target, const Samples& samples, const std::string& over) {
      table.add_row({fmt::format("{}", result.depth), target,
                     grouped(static_cast<std::uint64_t>(median(samples.iops))),
                     fmt::format("{:.1f}", median(samples.p50_ns) / 1e3),
                     fmt::format("{:.1f}", median(samples.p99_ns) / 1e3), over});
    };
    add_row("handback", result.handback,
            fmt::format("{:.3f} ({:.3f} to {:.3f})", ratio(result),
                        *std::min_element(pairs.begin(), pairs.end()),
                        *std::max_element(pairs.begin(), pairs.end())));
    add_row("plain", result.plain, "");
  }
  table.print(stdout);
}

void require_sensible(const BenchArguments& arguments) {
  const auto require = [](bool holds, const char* message) {
    if (!holds) throw Failure(exit_usage, message);
  };
  require(arguments.seconds > 0 && arguments.seconds <= 3600,
          "--seconds: must be above 0 and at most 3600");
  require(arguments.repeats >= 1 && arguments.repeats <= 1000, "--repeats: must be from 1 to 1000");
  require(arguments.file_bytes >= 1U << 20 && arguments.file_bytes % overwrite_bytes == 0 &&
              arguments.file_bytes <= std::uint64_t{1} << 50,
          "--size: must be at least 1M, at most 1024T, and a multiple of 4096");
  for (const unsigned depth : arguments.depths) {
    require(depth >= 1 && depth <= 1024, "--qd: a depth must be from 1 to 1024");
  }
}

int run_overwrite(const BenchArguments& arguments, const Context& context) {
  require_sensible(arguments);
  const InterruptGuard guard;
  BenchFiles files(arguments);
  files.create(files.volume,
               arguments.file_bytes + arguments.file_bytes / 16 + volume_overhead_bytes);
  files.create(files.plain, arguments.file_bytes);
  {
    const DeviceSession session(files.volume, context.writing());
    value_of(handback::Volume::format(session.issuer(), session.device()), files.volume);
  }
  const std::vector<DepthResult> results = measure(arguments, files, context);
  if (arguments.json) {
    fmt::print("{}\n", json_text(bench_json(results)));
  } else {
    print_results(arguments, results);
  }
  return exit_ok;
}

}  // namespace

void add_bench_command(CLI::App& app, Context& context) {
  CLI::App* bench =
      add_command(app, {.group = "Measuring",
                        .name = "bench",
                        .description = "Measure this machine with and without a volume",
                        .usage = "bench overwrite [OPTIONS]",
                        .footer = ""});
  bench->require_subcommand(1);
  const auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command = add_command(
      *bench,
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
  command->add_option("--qd", arguments->depths, "Depths: requests in flight, such as 1,16")
      ->delimiter(',')
      ->type_name("LIST");
  command->add_option("--seconds", arguments->seconds, "Length of one run; default 2")
      ->type_name("S");
  command->add_option("--repeats", arguments->repeats, "Pairs of runs for each depth; default 5")
      ->type_name("R");
  add_size_option(*command, "--size", &arguments->file_bytes, "Bytes to overwrite; default 256M");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_overwrite(*arguments, context); };
  });
}

}  // namespace tool
