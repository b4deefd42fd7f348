#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/bench/append_device.h"
#include "handback/bench/append_plain.h"
#include "handback/bench/append_report.h"
#include "handback/bench/append_volume.h"
#include "handback/bench/bench_command.h"
#include "handback/bench/markdown_section.h"

namespace tool {
namespace {

constexpr double warm_up_seconds_max = 0.1;

struct AppendArguments {
  AppendOptions options;
  std::string markdown;
  bool json = false;
};

void require_sensible(const AppendOptions& options) {
  const auto require = [](bool holds, const char* message) {
    if (!holds) throw Failure(exit_usage, message);
  };
  require(!options.volumes.empty(), "--volume: name a block device, a volume, or a new file");
  require(options.seconds > 0 && options.seconds <= 3600,
          "--seconds: must be above 0 and at most 3600");
  require(options.repeats >= 1 && options.repeats <= 1000, "--repeats: must be from 1 to 1000");
  require(options.bytes_max >= 1U << 20 && options.bytes_max % append_bytes == 0 &&
              options.bytes_max <= std::uint64_t{1} << 50,
          "--size: must be at least 1M, at most 1024T, and a multiple of 4096");
  require(!options.inflight.empty(), "--inflight: name at least one number");
  for (const unsigned inflight : options.inflight)
    require(inflight >= 1 && inflight <= 256, "--inflight: must be from 1 to 256");
}

AppendResult measure(const AppendOptions& options, const Context& context) {
  AppendResult result{.options = options, .kind = "", .rows = {}};
  std::vector<std::unique_ptr<AppendTarget>> targets;
  for (const std::string& path : options.volumes) {
    auto volume = std::make_unique<AppendVolume>(path, options.bytes_max, context.writing());
    if (result.kind.empty()) result.kind = volume->kind();
    targets.push_back(std::move(volume));
  }
  for (const std::string& directory : options.directories)
    targets.push_back(std::make_unique<AppendPlain>(directory));
  for (const std::string& path : options.devices)
    targets.push_back(std::make_unique<AppendDevice>(path, options.bytes_max, context.writing()));

  AppendLoad load{.warm_up_ns = static_cast<std::uint64_t>(
                      std::min(options.seconds, warm_up_seconds_max) * 1e9),
                  .measured_ns = static_cast<std::uint64_t>(options.seconds * 1e9),
                  .bytes_max = options.bytes_max};
  double load_average = 0;
  if (getloadavg(&load_average, 1) == 1) result.load_average = load_average;
  Progress progress("appending", Progress::Unit::runs);
  std::uint64_t runs_done = 0;
  const std::uint64_t runs =
      targets.size() * options.inflight.size() * (std::uint64_t{options.repeats} + 1);
  for (const unsigned inflight : options.inflight) {
    load.inflight = inflight;
    const std::size_t first_row = result.rows.size();
    for (std::size_t i = 0; i < targets.size(); ++i) {
      targets[i]->choose_way(load);
      progress.update(++runs_done, runs);
      result.rows.push_back({.target = targets[i]->name(),
                             .place = targets[i]->place(),
                             .way = targets[i]->way(inflight),
                             .inflight = inflight,
                             .ours = i < options.volumes.size(),
                             .runs = {}});
    }
    for (unsigned repeat = 0; repeat < options.repeats; ++repeat) {
      // In an order that rotates, so that none always runs after the same other.
      for (std::size_t turn = 0; turn < targets.size(); ++turn) {
        const std::size_t i = (turn + repeat) % targets.size();
        result.rows[first_row + i].runs.push_back(targets[i]->append(load));
        progress.update(++runs_done, runs);
      }
    }
  }
  return result;
}

int run_append(const AppendArguments& arguments, const Context& context) {
  require_sensible(arguments.options);
  const InterruptGuard guard;
  const AppendResult result = measure(arguments.options, context);
  if (!arguments.markdown.empty()) {
    write_section(arguments.markdown, "append " + result.kind, append_markdown(result));
  }
  if (arguments.json) {
    fmt::print("{}\n", json_text(append_json(result)));
  } else {
    print_appends(result);
  }
  return exit_ok;
}

}  // namespace

void add_append_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<AppendArguments>();
  CLI::App* command = add_command(
      bench,
      {.group = "Benchmarks",
       .name = "append",
       .description = "Durable 4 KiB appends to a volume, against file systems of the kernel",
       .usage = "bench append --volume PATH[,PATH] [--against DIR[,DIR]] [--device PATH[,PATH]]\n"
                "                             [--inflight 1,16] [--seconds S] [--repeats R]\n"
                "                             [--size SIZE] [--markdown FILE] [--json]",
       .footer =
           R"(Every append is durable before the next takes its place: DSYNC and APPEND on a
volume's file; O_DIRECT and RWF_DSYNC on the kernel's file systems, which get the
best way, found by a trial: one file through io_uring, a file for each append in
flight through io_uring, either with a look for completions before each sleep or
without, or a thread with a file for each. The targets take turns within each
repeat, and every ratio is of two runs of the same repeat.

--device shows what the device itself takes for that: by bare io_uring, a write of
4 KiB of data and one of a 4 KiB record together, both durable, in the best way,
found by a trial: RWF_DSYNC or one fdatasync behind both, a record for each append
or one for all that start together, with a look for completions or without. Nothing
is kept, so it is the least that a durable append can cost there. The device is
written over: it has to be blank, and another one than the volume's.

A PATH that does not exist becomes a host file and is removed at the end. A blank
block device is formatted. In a volume that is there, a file is made and removed.
Files made in a DIR are removed.

Examples:
  handback bench append --volume /dev/loop0 --against /mnt/ext4,/mnt/xfs --json
  handback bench append --volume /var/tmp/bench.img --against /var/tmp --inflight 1,4,16
  handback bench append --volume /dev/loop0 --device /dev/loop1
)"});
  AppendOptions& options = arguments->options;
  command->add_option("--volume", options.volumes, "Block devices, volumes or new files")
      ->delimiter(',')
      ->type_name("PATH");
  command->add_option("--against", options.directories, "Folders on the file systems to compare")
      ->delimiter(',')
      ->type_name("DIR");
  command
      ->add_option("--device", options.devices, "Blank block devices or new files, for bare writes")
      ->delimiter(',')
      ->type_name("PATH");
  command->add_option("--inflight", options.inflight, "Appends in flight; default 1,16")
      ->delimiter(',')
      ->type_name("LIST");
  command
      ->add_option("--seconds", options.seconds,
                   fmt::format("Length of one run; default {:g}", options.seconds))
      ->type_name("S");
  command
      ->add_option("--repeats", options.repeats,
                   fmt::format("Runs of each target; default {}", options.repeats))
      ->type_name("R");
  add_size_option(*command, "--size", &options.bytes_max,
                  fmt::format("Most that a run appends; default {}M", options.bytes_max >> 20));
  command
      ->add_option("--markdown", arguments->markdown,
                   "Write the results into their section of this page")
      ->type_name("FILE");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_append(*arguments, context); };
  });
}

}  // namespace tool
