#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "handback/bench/bench_command.h"
#include "handback/bench/buffered_report.h"
#include "handback/bench/markdown_section.h"

namespace tool {
namespace {

struct BufferedArguments {
  BufferedOptions options;
  std::string markdown;
  bool json = false;
};

void require_sensible(const BufferedOptions& options) {
  require_sensible(options.load);
  if (options.load.file_bytes < 16U << 20 || options.load.file_bytes % (1U << 20) != 0)
    throw Failure(exit_usage, "--size: must be at least 16M, and a multiple of 1M");
  for (const unsigned depth : options.load.depths) {
    if (depth > 256) throw Failure(exit_usage, "--qd: a depth must be from 1 to 256");
  }
  if (options.device == "null")
    throw Failure(exit_usage, "--volume: the null device has no volume; name mem or a path");
  if (options.overwrite_device && options.device == "mem")
    throw Failure(exit_usage, "--overwrite-device: is for block devices, not for --volume mem");
}

int run_buffered(const BufferedArguments& arguments, const Context& context) {
  require_sensible(arguments.options);
  const InterruptGuard guard;
  const BufferedResult result = measure_buffered(arguments.options, context.engine);
  if (!arguments.markdown.empty())
    write_section(arguments.markdown, "buffered " + result.kind, buffered_markdown(result));
  if (arguments.json) {
    fmt::print("{}\n", json_text(buffered_json(result)));
  } else {
    print_buffered(result);
  }
  return exit_ok;
}

}  // namespace

void add_buffered_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<BufferedArguments>();
  CLI::App* command = add_command(
      bench,
      {.group = "Benchmarks",
       .name = "buffered",
       .description =
           "Buffered reads and writes, against direct ones, threads and the host's cache",
       .usage = "bench buffered [--volume mem|PATH] [--against DIR] [--only LOAD] [--qd 1,8,32]\n"
                "                               [--seconds S] [--repeats R] [--size SIZE] "
                "[--markdown FILE] "
                "[--json]",
       .footer =
           R"(Three loads, whose ways take turns within each repeat; every ratio is of two runs
of the same repeat:
  hits      single 4 KiB reads of what is in the page cache, beside a memcpy of the
            same bytes and a pread() of what is in the host's page cache
  misses    random 4 KiB reads of a file 64 times as large as the cache, a number of
            them in flight: buffered ones that wait in their wait entries, direct
            ones, buffered ones of as many threads that block, and the host's
            buffered reads through io_uring
  order     reads with read-ahead, and writes with an fsync after each 16 MiB

A PATH that does not exist becomes a host file and is removed at the end; with
--overwrite-device it is a block device that is blank. The file that is made in DIR
is removed.

Examples:
  handback bench buffered
  handback bench buffered --volume /var/tmp/bench.img --against /var/tmp --repeats 9
)"});
  BufferedOptions& options = arguments->options;
  command->add_option("--volume", options.device, "mem (default), a new file or a block device")
      ->type_name("PATH");
  command->add_flag("--overwrite-device", options.overwrite_device,
                    "The path is a block device that may be written to");
  command
      ->add_option("--against", options.against,
                   "A folder on the host's file system, to compare with")
      ->type_name("DIR");
  command->add_option("--only", options.loads, "Of hits, misses and order; default: all")
      ->delimiter(',')
      ->check(CLI::IsMember({"hits", "misses", "order"}))
      ->type_name("LOAD");
  add_load_options(*command, &options.load);
  command
      ->add_option("--markdown", arguments->markdown,
                   "Write the results into their section of this page")
      ->type_name("FILE");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_buffered(*arguments, context); };
  });
}

}  // namespace tool
