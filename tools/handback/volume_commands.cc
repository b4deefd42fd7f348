// df and check.
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
  fmt::print("{}{}: {}, {}, {}; format {}.{}\n\n", arguments.volume,
             info.label.empty() ? "" : " '" + printable(info.label) + "'",
             count_of(info.file_count, "file", "files"),
             count_of(info.directory_count, "directory", "directories"),
             count_of(info.extent_count, "extent", "extents"), info.version_major,
             info.version_minor);
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

void print_findings(const std::string& volume, const handback::CheckReport& report) {
  for (const auto& finding : report.findings) {
    fmt::print("block {}: {}, {}: {}; {}\n", finding.block, finding.structure, finding.field,
               printable(finding.problem), printable(finding.consequence));
  }
  const std::string read = count_of(report.blocks_read, "block", "blocks");
  if (!report.findings.empty()) {
    fmt::print("{}: {}; {} read, nothing was changed\n", volume,
               count_of(report.findings_total, "finding", "findings"), read);
    return;
  }
  fmt::print("{}: consistent: {}, {}, {}; {} of metadata read\n", volume,
             count_of(report.info.file_count, "file", "files"),
             count_of(report.info.directory_count, "directory", "directories"),
             count_of(report.info.extent_count, "extent", "extents"), read);
  if (!report.recovery.clean) {
    fmt::print("it was not closed; opening it for writing will recover {} with {}\n",
               count_of(report.recovery.records_replayed, "log record", "log records"),
               count_of(report.recovery.changes_replayed, "change", "changes"));
  }
}

nlohmann::ordered_json check_json(const std::string& volume, const handback::CheckReport& report) {
  auto findings = nlohmann::ordered_json::array();
  for (const auto& finding : report.findings) {
    findings.push_back({{"block", finding.block},
                        {"structure", finding.structure},
                        {"field", finding.field},
                        {"problem", finding.problem},
                        {"consequence", finding.consequence},
                        {"refuses_open", finding.refuses_open}});
  }
  return {{"command", "check"},
          {"volume", volume},
          {"consistent", report.findings.empty()},
          {"findings_total", report.findings_total},
          {"findings", std::move(findings)},
          {"blocks_read", report.blocks_read},
          {"recovery", recovery_json(report.recovery)},
          {"info", volume_info_json(report.info)}};
}

int run_check(const VolumeArguments& arguments, const Context& context) {
  const DeviceSession session(arguments.volume, context.reading());
  const handback::CheckReport report = value_of(
      handback::check_volume(session.issuer(), session.device()), arguments.volume, Phase::opening);
  if (arguments.json) {
    fmt::print("{}\n", json_text(check_json(arguments.volume, report)));
  } else {
    print_findings(arguments.volume, report);
  }
  return report.findings.empty() ? exit_ok : exit_not_a_volume;
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

  const auto check = std::make_shared<VolumeArguments>();
  command = add_command(
      app, {.group = "Volumes",
            .name = "check",
            .description = "Verify the whole volume, without changing it",
            .usage = "check VOLUME [--json]",
            .footer =
                R"(Reads all metadata and holds it against every rule of the format. Each finding
names the block, what is wrong there, and what follows from it. Exit code 3 if
there is any.

Example:
  handback check vol.img && echo fine
)"});
  add_volume_argument(*command, &check->volume);
  add_json_option(*command, &check->json);
  command->callback([check, &context] {
    context.action = [check, &context] { return run_check(*check, context); };
  });
}

}  // namespace tool
