#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "handback/bench/bench_command.h"
#include "handback/bench/device_report.h"
#include "handback/bench/markdown_section.h"

namespace tool {
namespace {

struct DeviceArguments {
  std::string target;
  LoadOptions load{.depths = {1, 4, 16, 64}, .seconds = 0.2, .repeats = 11};
  std::string markdown;
  bool json = false;
};

int run_device(const DeviceArguments& arguments, const Context& context) {
  require_sensible(arguments.load);
  const InterruptGuard guard;
  const DeviceResult result = [&] {
    const DeviceTarget target(arguments.target, arguments.load.file_bytes);
    return compare_on_device(arguments.load, target, context.engine);
  }();
  if (!arguments.markdown.empty())
    write_section(arguments.markdown, "device " + result.kind, device_markdown(result));
  if (arguments.json) {
    fmt::print("{}\n", json_text(device_json(result)));
  } else {
    print_device(result);
  }
  return exit_ok;
}

}  // namespace

void add_device_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<DeviceArguments>();
  CLI::App* command = add_command(
      bench,
      {.group = "Benchmarks",
       .name = "device",
       .description = "Our stack on a bare device, against plain io_uring",
       .usage = "bench device TARGET [--qd 1,4,16,64] [--seconds S] [--repeats R] [--size SIZE]\n"
                "                             [--markdown FILE] [--json]",
       .footer =
           R"(4 KiB random reads and overwrites and 128 KiB sequential ones, without a volume:
through the stack (a request, its mapping, its bios, an io_uring), and by io_uring
written by hand with the best settings the kernel has (one issuer, deferred task
work, registered ring, file and buffers, batches). Both are run in two ways in
each repeat, sleeping at once, and looking for completions before they sleep; for
each load and depth the better one of each counts. All take turns, and every ratio
is of two runs of the same repeat.

TARGET is a new file, which is removed at the end, or a block device that is blank
and unused; it is written over but for its first and last MiB.

Examples:
  handback bench device /dev/nvme1n1
  handback bench device /var/tmp/bench.img --qd 1,16 --repeats 9 --json
)"});
  command->add_option("target", arguments->target, "A blank block device, or a new file")
      ->required()
      ->type_name("TARGET");
  add_load_options(*command, &arguments->load);
  command
      ->add_option("--markdown", arguments->markdown,
                   "Write the results into their section of this page")
      ->type_name("FILE");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_device(*arguments, context); };
  });
}

}  // namespace tool
