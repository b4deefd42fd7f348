// The benchmarks of `handback bench`: each adds its subcommand, in a file of its own.
#pragma once

#include "handback/command_line.h"

namespace tool {

void add_overwrite_bench(CLI::App& bench, Context& context);

}  // namespace tool
