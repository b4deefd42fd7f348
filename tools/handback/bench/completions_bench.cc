#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "handback/bench/bench_command.h"
#include "handback/bench/completions_report.h"
#include "handback/bench/gnuplot.h"
#include "handback/bench/markdown_section.h"

namespace tool {
namespace {

struct CompletionsArguments {
  CompletionsOptions options;
  std::string plot;
  std::string markdown;
  bool json = false;
};

void require_sensible(const CompletionsArguments& arguments) {
  require_sensible(arguments.options.load);
  const unsigned workers = arguments.options.workers;
  if (workers < 1 || workers > 64) throw Failure(exit_usage, "--workers: must be from 1 to 64");
  const std::string& device = arguments.options.device;
  if (arguments.options.overwrite_device && (device == "null" || device == "mem")) {
    throw Failure(exit_usage,
                  "--overwrite-device: is for block devices, not for --device null and "
                  "--device mem");
  }
}

// As the page links to it.
std::string drawing_for(const CompletionsArguments& arguments) {
  if (arguments.plot.empty()) return "";
  const auto page = std::filesystem::absolute(arguments.markdown).parent_path();
  return std::filesystem::absolute(arguments.plot).lexically_relative(page).string();
}

int run_completions(const CompletionsArguments& arguments, const Context& context) {
  require_sensible(arguments);
  if (!arguments.plot.empty()) require_gnuplot();
  const InterruptGuard guard;
  CompletionsResult result;
  {
    BenchTarget target({.device = arguments.options.device,
                        .file_bytes = arguments.options.load.file_bytes,
                        .overwrite_device = arguments.options.overwrite_device,
                        .engine = context.engine});
    result = measure_completions(arguments.options, target);
  }
  if (!arguments.plot.empty()) draw_svg(completions_plot(result), arguments.plot);
  if (!arguments.markdown.empty()) {
    write_section(arguments.markdown, "completions " + result.kind,
                  completions_markdown(result, drawing_for(arguments)));
  }
  if (arguments.json) {
    fmt::print("{}\n", json_text(completions_json(result)));
  } else {
    print_completions(result);
  }
  return exit_ok;
}

}  // namespace

void add_completions_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<CompletionsArguments>();
  CLI::App* command = add_command(
      bench,
      {.group = "Benchmarks",
       .name = "completions",
       .description = "4 KiB random overwrites, completed inline, by the issuer and by a worker",
       .usage = "bench completions [--device null|mem|PATH] [--qd 1,2,4,8,16] [--workers N]\n"
                "                                  [--seconds S] [--repeats R] [--size SIZE]\n"
                "                                  [--plot FILE.svg] [--markdown FILE] [--json]",
       .footer =
           R"(One stack, one load, three routes: completions settled where the device's end
is seen (inline), handed back to the thread that submitted (issuer), or punted to
a pool (worker), as kernels do that cannot hand back. The three take turns within
each repeat, and every ratio is of two runs of the same repeat.

Devices:
  null   takes a write and does nothing: what the routes themselves cost
  mem    a volume in memory: one copy of 4 KiB for each write; both end their
         requests only when polled, so a worker competes with nothing but itself
  PATH   a volume in a new host file, which is removed at the end; or, with
         --overwrite-device, on a block device that is blank

Examples:
  handback bench completions
  handback bench completions --device /var/tmp/bench.img --repeats 9
  handback bench completions --device null --workers 2 --plot routes.svg --json
)"});
  CompletionsOptions& options = arguments->options;
  command->add_option("--device", options.device, "null, mem (default), or a path")
      ->type_name("DEVICE");
  command->add_flag("--overwrite-device", options.overwrite_device,
                    "The path is a block device that may be written to");
  command->add_option("--workers", options.workers, "Threads of the pool; default 1")
      ->type_name("N");
  add_load_options(*command, &options.load);
  command->add_option("--plot", arguments->plot, "Draw the results, with gnuplot")
      ->type_name("FILE.svg");
  command
      ->add_option("--markdown", arguments->markdown,
                   "Write the results into their section of this page")
      ->type_name("FILE");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_completions(*arguments, context); };
  });
}

}  // namespace tool
