#include "handback/bench/bench_command.h"

namespace tool {

void add_bench_command(CLI::App& app, Context& context) {
  CLI::App* bench =
      add_command(app, {.group = "Measuring",
                        .name = "bench",
                        .description = "Measure this machine with and without a volume",
                        .usage = "bench BENCHMARK [OPTIONS]",
                        .footer = ""});
  bench->require_subcommand(1);
  add_overwrite_bench(*bench, context);
}

}  // namespace tool
