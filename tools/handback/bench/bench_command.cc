#include "handback/bench/bench_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tool {

void add_load_options(CLI::App& command, LoadOptions* options) {
  command
      .add_option(
          "--qd", options->depths,
          fmt::format("Depths: requests in flight; default {}", fmt::join(options->depths, ",")))
      ->delimiter(',')
      ->type_name("LIST");
  command
      .add_option("--seconds", options->seconds,
                  fmt::format("Length of one run; default {:g}", options->seconds))
      ->type_name("S");
  command
      .add_option("--repeats", options->repeats,
                  fmt::format("Runs of each kind at each depth; default {}", options->repeats))
      ->type_name("R");
  add_size_option(command, "--size", &options->file_bytes,
                  fmt::format("Bytes of the file; default {}M", options->file_bytes >> 20));
}

void add_bench_command(CLI::App& app, Context& context) {
  CLI::App* bench =
      add_command(app, {.group = "Measuring",
                        .name = "bench",
                        .description = "Measure this machine with and without a volume",
                        .usage = "bench BENCHMARK [OPTIONS]",
                        .footer = ""});
  bench->require_subcommand(1);
  add_append_bench(*bench, context);
  add_buffered_bench(*bench, context);
  add_completions_bench(*bench, context);
  add_device_bench(*bench, context);
  add_durable_bench(*bench, context);
  add_layers_bench(*bench, context);
  add_overwrite_bench(*bench, context);
  add_checkpoint_bench(*bench, context);
  add_open_bench(*bench, context);
}

}  // namespace tool
