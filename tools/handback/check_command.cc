// check, and its repair.
#include <fmt/format.h>
#include <handback/repair.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/text.h"
#include "handback/command_line.h"
#include "handback/info_json.h"

namespace tool {
namespace {

// Of a repair, as fsck has them; of a check alone, those of every command.
enum RepairExitCode : int {
  exit_repair_none_needed = 0,
  exit_repair_done = 1,
  exit_repair_left = 4,    // Refused, or not confirmed.
  exit_repair_failed = 8,  // The volume could not be read or written.
};

struct CheckArguments {
  std::string volume;
  bool data = false;
  bool json = false;
  bool repair = false;
  bool dry_run = false;
  bool yes = false;
};

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

int run_check(const CheckArguments& arguments, const Context& context) {
  const DeviceSession session(arguments.volume, context.reading());
  const handback::CheckReport report =
      value_of(handback::check_volume(session.issuer(), session.device(), {.data = arguments.data}),
               arguments.volume, Phase::opening);
  if (arguments.json) {
    fmt::print("{}\n", json_text(check_json(arguments.volume, report)));
  } else {
    print_findings(arguments.volume, report);
  }
  return report.findings.empty() ? exit_ok : exit_not_a_volume;
}

// What `--repair` says before it asks.
bool confirmed(const CheckArguments& arguments, const std::vector<std::string>& plan) {
  if (!arguments.json) {
    fmt::print("{}: this would be done, in this order:\n", arguments.volume);
    for (const std::string& step : plan)
      fmt::print("  {}\n", printable(step));
    std::fflush(stdout);
  }
  if (arguments.dry_run) return false;
  if (arguments.yes) return true;
  if (::isatty(STDIN_FILENO) == 0) return false;
  fmt::print(stderr, "go on? [y/N] ");
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

const char* outcome_name(handback::RepairOutcome outcome) {
  switch (outcome) {
    case handback::RepairOutcome::consistent:
      return "consistent";
    case handback::RepairOutcome::repaired:
      return "repaired";
    case handback::RepairOutcome::declined:
      return "declined";
    case handback::RepairOutcome::refused:
      return "refused";
  }
  return "unknown";
}

void print_repair(const CheckArguments& arguments, const handback::RepairReport& report) {
  switch (report.outcome) {
    case handback::RepairOutcome::consistent:
      fmt::print("{}: consistent; there is nothing to repair\n", arguments.volume);
      break;
    case handback::RepairOutcome::repaired:
      fmt::print("{}: repaired; {} written\n", arguments.volume,
                 count_of(report.blocks_written, "block", "blocks"));
      break;
    case handback::RepairOutcome::declined:
      fmt::print("{}: nothing was changed{}\n", arguments.volume,
                 arguments.dry_run ? "" : "; '--yes' goes on without asking");
      break;
    case handback::RepairOutcome::refused:
      for (const std::string& refusal : report.refusals)
        fmt::print("{}\n", printable(refusal));
      fmt::print("{}: cannot be repaired without a guess; nothing was changed\n", arguments.volume);
      break;
  }
}

int run_repair(const CheckArguments& arguments, const Context& context) {
  handback::RepairReport report;
  try {
    const DeviceSession session(arguments.volume, context.writing());
    handback::RepairOptions options;
    options.confirm = [&](const std::vector<std::string>& plan) {
      return confirmed(arguments, plan);
    };
    report = value_of(handback::repair_volume(session.issuer(), session.device(), options),
                      arguments.volume, Phase::opening);
  } catch (const Failure& failure) {
    throw Failure(exit_repair_failed, failure.what());
  }
  if (arguments.json) {
    nlohmann::ordered_json json = check_json(arguments.volume, report.check);
    json["repair"] = {{"outcome", outcome_name(report.outcome)},
                      {"plan", report.plan},
                      {"refusals", report.refusals},
                      {"blocks_written", report.blocks_written}};
    fmt::print("{}\n", json_text(json));
  } else {
    print_repair(arguments, report);
  }
  switch (report.outcome) {
    case handback::RepairOutcome::consistent:
      return exit_repair_none_needed;
    case handback::RepairOutcome::repaired:
      return exit_repair_done;
    case handback::RepairOutcome::declined:
    case handback::RepairOutcome::refused:
      break;
  }
  return exit_repair_left;
}

}  // namespace

void add_check_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<CheckArguments>();
  CLI::App* command = add_command(
      app, {.group = "Volumes",
            .name = "check",
            .description = "Verify the whole volume, and repair what is safe to repair",
            .usage = "check VOLUME [--data | --repair [--dry-run | --yes]] [--json]",
            .footer =
                R"(Reads all metadata and holds it against every rule of the format. Each finding
names the block, what is wrong there, and what follows from it. Changes nothing;
exit code 3 if there is any finding.

--data also reads the data of files, of a volume that was formatted with
--data-checksums, and names each block that is not as it was written.

--repair says what it would do, asks, and does it: a superblock or root from its
good twin, counts that follow from what is there, a record at the log's end that
a crash cut off. Beside anything that would take a guess it does nothing at all,
and says why. It may be cut off and made again.
Its exit codes are those of fsck: 0 nothing to do, 1 repaired, 4 refused or not
confirmed, 8 failed.

Example:
  handback check vol.img && echo fine
  handback check vol.img --repair --dry-run
)"});
  add_volume_argument(*command, &arguments->volume);
  CLI::Option* data = command->add_flag(
      "--data", arguments->data, "Also read all data that has a checksum, and name what is wrong");
  add_json_option(*command, &arguments->json);
  CLI::Option* repair =
      command->add_flag("--repair", arguments->repair, "Put right what can be, without a guess");
  CLI::Option* dry_run = command->add_flag("--dry-run", arguments->dry_run,
                                           "With --repair: say what would be done, and stop");
  CLI::Option* yes =
      command->add_flag("--yes", arguments->yes, "With --repair: do it without asking");
  data->excludes(repair);
  dry_run->needs(repair);
  yes->needs(repair);
  yes->excludes(dry_run);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] {
      return arguments->repair ? run_repair(*arguments, context) : run_check(*arguments, context);
    };
  });
}

}  // namespace tool
