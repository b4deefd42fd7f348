// The benchmarks of `handback bench`: each adds its subcommand, in a file of its own.
#pragma once

#include "handback/bench/load_options.h"
#include "handback/command_line.h"

namespace tool {

void add_append_bench(CLI::App& bench, Context& context);
void add_buffered_bench(CLI::App& bench, Context& context);
void add_completions_bench(CLI::App& bench, Context& context);
void add_device_bench(CLI::App& bench, Context& context);
void add_durable_bench(CLI::App& bench, Context& context);
void add_layers_bench(CLI::App& bench, Context& context);
void add_overwrite_bench(CLI::App& bench, Context& context);
void add_checkpoint_bench(CLI::App& bench, Context& context);
void add_open_bench(CLI::App& bench, Context& context);

// The defaults shown are those that `options` holds; it outlives the command.
void add_load_options(CLI::App& command, LoadOptions* options);

}  // namespace tool
