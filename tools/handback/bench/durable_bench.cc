#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/text.h"
#include "handback/bench/bench_command.h"
#include "handback/bench/durable_operations.h"
#include "handback/bench/markdown_section.h"

namespace tool {
namespace {

struct DurableArguments {
  std::vector<std::string> directories;
  std::string markdown;
  bool json = false;
};

int run_durable(const DurableArguments& arguments) {
  std::vector<DurableColumn> columns = measure_volume_operations();
  for (const std::string& directory : arguments.directories)
    columns.push_back(measure_host_operations(directory));
  if (!arguments.markdown.empty())
    write_section(arguments.markdown, "durable operations", durable_markdown(columns));
  if (arguments.json) {
    fmt::print("{}\n", json_text(durable_json(columns)));
    return 0;
  }
  Table table({Align::left, Align::left, Align::left, Align::left});
  table.add_row({"operation", "target", "device", "cost"});
  for (std::size_t i = 0; i < durable_operations.size(); ++i) {
    for (const DurableColumn& column : columns) {
      table.add_row({describe(durable_operations[i]), column.target, column.device,
                     describe(column.costs[i])});
    }
  }
  table.print(stdout);
  return 0;
}

}  // namespace

void add_durable_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<DurableArguments>();
  CLI::App* command = add_command(
      bench,
      {.group = "Benchmarks",
       .name = "durable-operations",
       .description = "Device writes and flushes of durable operations, counted",
       .usage = "bench durable-operations [--against DIR[,DIR]] [--markdown FILE] [--json]",
       .footer =
           R"(Counts what reaches the device when an operation is made durable, one at a time:
for a volume on a device without a volatile cache, with FUA, and with a flush only;
for a file system of the kernel by what it counts for the device below (means of 32;
nobody else may use that device meanwhile).

Example:
  handback bench durable-operations --against /mnt/ext4,/mnt/xfs
)"});
  command->add_option("--against", arguments->directories, "Folders on the file systems to compare")
      ->delimiter(',')
      ->type_name("DIR");
  command
      ->add_option("--markdown", arguments->markdown,
                   "Write the table into its section of this page")
      ->type_name("FILE");
  add_json_option(*command, &arguments->json);
  command->callback(
      [arguments, &context] { context.action = [arguments] { return run_durable(*arguments); }; });
}

}  // namespace tool
