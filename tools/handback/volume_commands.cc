// df.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/text.h"
#include "handback/command_line.h"
#include "handback/info_json.h"

namespace tool {
namespace {

struct VolumeArguments {
  std::string volume;
  bool json = false;
};

std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "-";
  return fmt::format("{:.0f} %", 100 * static_cast<double>(part) / static_cast<double>(whole));
}

int run_df(const VolumeArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.reading());
  const handback::VolumeInfo info = session.volume().info();
  session.close();
  if (arguments.json) {
    nlohmann::ordered_json json = {{"command", "df"}, {"volume", arguments.volume}};
    json.update(volume_info_json(info));
    fmt::print("{}\n", json_text(json));
    return exit_ok;
  }
  const std::uint64_t used_bytes = info.data_bytes - info.free_bytes;
  fmt::print("{}{}: {}, {}, {}; format {}.{}{}\n\n", arguments.volume,
             info.label.empty() ? "" : " '" + printable(info.label) + "'",
             count_of(info.file_count, "file", "files"),
             count_of(info.directory_count, "directory", "directories"),
             count_of(info.extent_count, "extent", "extents"), info.version_major,
             info.version_minor, info.data_checksums ? ", checksums of data" : "");
  Table table({Align::left, Align::right, Align::right, Align::right, Align::right});
  table.add_row({"", "size", "used", "free", "used"});
  const auto add_row = [&table](const char* name, std::uint64_t whole, std::uint64_t used) {
    table.add_row({name, human_size(whole), human_size(used), human_size(whole - used),
                   percent(used, whole)});
  };
  add_row("files", info.data_bytes, used_bytes);
  add_row("metadata", info.metadata_bytes_max, info.metadata_bytes);
  add_row("log", info.log_bytes, info.log_used_bytes);
  table.add_row({"volume", human_size(info.size_bytes), "", "", ""});
  table.print(stdout);
  return exit_ok;
}

}  // namespace

void add_volume_commands(CLI::App& app, Context& context) {
  const auto df = std::make_shared<VolumeArguments>();
  CLI::App* command = add_command(app, {.group = "Volumes",
                                        .name = "df",
                                        .description = "Show how full a volume is",
                                        .usage = "df VOLUME [--json]",
                                        .footer = R"(Example:
  handback df vol.img
)"});
  add_volume_argument(*command, &df->volume);
  add_json_option(*command, &df->json);
  command->callback(
      [df, &context] { context.action = [df, &context] { return run_df(*df, context); }; });
}

}  // namespace tool
