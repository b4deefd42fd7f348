#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "handback/bench/bench_command.h"
#include "handback/bench/layers_report.h"
#include "handback/bench/markdown_section.h"

namespace tool {
namespace {

struct LayersArguments {
  LoadOptions load{
      .depths = {1, 16, 128}, .seconds = 0.2, .repeats = 7, .file_bytes = std::uint64_t{64} << 20};
  std::string markdown;
  bool json = false;
};

int run_layers(const LayersArguments& arguments) {
  require_sensible(arguments.load);
  const InterruptGuard guard;
  const LayersResult result = measure_layers(arguments.load);
  if (!arguments.markdown.empty())
    write_section(arguments.markdown, "layers", layers_markdown(result));
  if (arguments.json) {
    fmt::print("{}\n", json_text(layers_json(result)));
  } else {
    print_layers(result);
  }
  return exit_ok;
}

}  // namespace

void add_layers_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<LayersArguments>();
  CLI::App* command = add_command(
      bench, {.group = "Benchmarks",
              .name = "layers",
              .description = "What each layer costs a 4 KiB request, without a device",
              .usage = "bench layers [--qd 1,16,128] [--seconds S] [--repeats R] [--size SIZE]\n"
                       "                             [--markdown FILE] [--json]",
              .footer =
                  R"(Requests through a volume's file (every layer), through a device as a file
(without the volume), and bios straight to a queue, on devices that do nothing;
so many are kept in flight, end together, and are started anew. The time of each
path is measured, and what one path has more than another is a layer's time.

Instructions, system calls and allocations are counted apart from that, exactly:
a child process is stepped through some requests, one instruction after the
other, and each instruction counts for the layer of the function it is in. That
takes a program with symbols (not stripped) that may use ptrace.

Examples:
  handback bench layers
  handback bench layers --qd 1 --repeats 21 --json
)"});
  add_load_options(*command, &arguments->load);
  command
      ->add_option("--markdown", arguments->markdown,
                   "Write the results into their section of this page")
      ->type_name("FILE");
  add_json_option(*command, &arguments->json);
  command->callback(
      [arguments, &context] { context.action = [arguments] { return run_layers(*arguments); }; });
}

}  // namespace tool
