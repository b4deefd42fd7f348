// put and get.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_tree.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/command_line.h"

namespace tool {
namespace {

struct CopyArguments {
  std::string volume;
  std::vector<std::string> paths;  // The last one is the destination.
  bool json = false;

  [[nodiscard]] std::vector<std::string> sources() const {
    return {paths.begin(), paths.end() - 1};
  }
};

void require_destination(const CopyArguments& arguments, const char* command) {
  if (arguments.paths.size() < 2) {
    throw Failure(
        exit_usage,
        fmt::format("{0}: names what to copy, but not where to; see 'handback {0} --help'",
                    command));
  }
}

int report_copy(const char* command, const char* verb, const CopyArguments& arguments,
                const CopyReport& report, const handback::IssuerStats& stats) {
  if (arguments.json) {
    fmt::print("{}\n", json_text(copy_report_json(command, report, stats)));
  } else {
    print_copy_report(verb, report, stats);
  }
  return copy_exit_code(report);
}

int run_put(const CopyArguments& arguments, const Context& context) {
  require_destination(arguments, "put");
  const InterruptGuard guard;
  VolumeSession session(arguments.volume, context.writing());
  const HostTree tree = read_host_tree(arguments.sources(), arguments.paths.back(),
                                       session.volume(), arguments.volume);
  CopyReport report;
  {
    Progress progress("put");
    report = put_tree(
        session.volume(), session.issuer(), tree,
        [&progress](const CopyProgress& now) { progress.update(now.done_bytes, now.total_bytes); });
  }
  session.close();
  return report_copy("put", "copied", arguments, report, session.issuer().stats());
}

int run_get(const CopyArguments& arguments, const Context& context) {
  require_destination(arguments, "get");
  const InterruptGuard guard;
  VolumeSession session(arguments.volume, context.reading());
  const VolumeTree tree =
      read_volume_tree(session.volume(), arguments.sources(), arguments.paths.back());
  CopyReport report;
  {
    Progress progress("get");
    report = get_tree(
        session.volume(), session.issuer(), tree,
        [&progress](const CopyProgress& now) { progress.update(now.done_bytes, now.total_bytes); });
  }
  session.close();
  return report_copy("get", "copied", arguments, report, session.issuer().stats());
}

}  // namespace

void add_copy_commands(CLI::App& app, Context& context) {
  const auto put = std::make_shared<CopyArguments>();
  CLI::App* command = add_command(
      app, {.group = "Files",
            .name = "put",
            .description = "Copy files and directories of this machine into a volume",
            .usage = "put VOLUME SOURCE... DEST [--json]",
            .footer =
                R"(DEST is the path of the copy in the volume. If it ends in '/', or there are
several sources, the copies go into it under their own names. A file put onto
a directory of the volume goes into it. Directories that are missing are made.
Times of files are kept; symbolic links to files are followed; what is neither
file nor directory is skipped, and named at the end.

The same command again completes a copy that was stopped: files that are there
already, with the same size and time, are left alone.

Examples:
  handback put vol.img /etc /etc          the copy of /etc is /etc
  handback put vol.img a.txt b.txt /docs/ they become /docs/a.txt and /docs/b.txt
  handback put vol.img report.pdf /r.pdf  under another name
)"});
  add_volume_argument(*command, &put->volume);
  command->add_option("PATHS", put->paths, "What to copy, and the path of the copy")
      ->option_text("SOURCE... DEST")
      ->required();
  add_json_option(*command, &put->json);
  command->callback(
      [put, &context] { context.action = [put, &context] { return run_put(*put, context); }; });

  const auto get = std::make_shared<CopyArguments>();
  command = add_command(
      app, {.group = "Files",
            .name = "get",
            .description = "Copy files and directories of a volume to this machine",
            .usage = "get VOLUME PATH... DEST [--json]",
            .footer =
                R"(DEST is the path of the copy on this machine. If it ends in '/', is '.' or
'..', or there are several paths, the copies go into it under their own names.
A file got onto a directory goes into it. Directories that are missing are
made. Times of files are kept; existing files are replaced, except those that
have the same size and time already.

Examples:
  handback get vol.img /etc ./etc-copy    the copy of /etc is ./etc-copy
  handback get vol.img /docs/a.txt .      becomes ./a.txt
  handback get vol.img / everything       the whole volume
)"});
  add_volume_argument(*command, &get->volume);
  command->add_option("PATHS", get->paths, "What to copy, and the path of the copy")
      ->option_text("PATH... DEST")
      ->required();
  add_json_option(*command, &get->json);
  command->callback(
      [get, &context] { context.action = [get, &context] { return run_get(*get, context); }; });
}

}  // namespace tool
