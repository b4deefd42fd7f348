#include "handback/command_line.h"

#include <fmt/format.h>

#include <handback/version.h>
#include <algorithm>
#include <map>
#include <memory>
#include <new>

#include "common/failure.h"
#include "common/text.h"

namespace tool {
namespace {

constexpr const char* program_description =
    "Handback keeps files in a volume: one big file, or a whole block device, that\n"
    "is read and written with asynchronous direct I/O and survives crashes.";

constexpr const char* program_footer =
    R"(A first session:
  handback format vol.img --size 1G       make a volume in a new file
  handback put vol.img ~/notes /notes     copy a directory into it
  handback ls -lR vol.img                 see what it holds
  handback get vol.img /notes ./copy      copy it out again
  handback check vol.img                  verify the whole volume

Sizes take K, M, G or T, in powers of 1024. Paths in a volume begin with '/'.
'handback COMMAND --help' explains a command and has examples.

Exit codes:
  0    it worked
  1    what was asked for failed: not found, already there, not readable, ...
  2    the command line is wrong
  3    the volume is damaged, of a newer format, or no volume at all
  4    the volume or device is in use by another process
  5    no space, or beyond a limit
  6    the device failed
  130  stopped by Ctrl-C (143: by SIGTERM)
)";

// CLI11's own, less its remarks on how many options are required, and with a usage line that names
// arguments in the order in which they are given.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() {
    column_width(22);
    label("Positionals", "Arguments");
  }

  void set_usage(const CLI::App* app, std::string usage) { usages_[app] = std::move(usage); }

  std::string make_description(const CLI::App* app) const override {
    return app->get_description() + "\n\n";
  }

  std::string make_usage(const CLI::App* app, std::string) const override {
    const auto found = usages_.find(app);
    return fmt::format("Usage: handback {}\n",
                       found == usages_.end() ? "COMMAND ..." : found->second);
  }

  std::string make_option_name(const CLI::Option* option, bool is_positional) const override {
    // A name may not hold spaces, "SOURCE... DEST" is what users read.
    if (is_positional && !option->get_option_text().empty()) return option->get_option_text();
    return CLI::Formatter::make_option_name(option, is_positional);
  }

  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_positional() || option->get_type_size() == 0) return "";
    return " " + option->get_type_name();
  }

 private:
  std::map<const CLI::App*, std::string> usages_;
};

int run_action(const Context& context) {
  try {
    return context.action();
  } catch (const Failure& failure) {
    print_error(printable(failure.what()));
    return failure.exit_code();
  } catch (const std::bad_alloc&) {
    print_error("out of memory; close other programs, or work on fewer files at once");
    return exit_failed;
  } catch (const std::exception& error) {
    print_error(printable(error.what()));
    return exit_failed;
  }
}

}  // namespace

CLI::App* add_command(CLI::App& parent, const CommandText& text) {
  CLI::App* command = parent.add_subcommand(text.name, text.description);
  command->group(text.group);
  command->footer(text.footer);
  if (auto* help = dynamic_cast<HelpFormatter*>(parent.get_formatter().get())) {
    help->set_usage(command, text.usage);
  }
  return command;
}

CLI::Option* add_size_option(CLI::App& command, const std::string& name, std::uint64_t* size_bytes,
                             const std::string& description) {
  return command
      .add_option_function<std::string>(
          name,
          [name, size_bytes](const std::string& text) {
            const auto size = parse_size(text);
            if (!size) {
              throw CLI::ValidationError(
                  name,
                  fmt::format("'{}' is not a size; write 64M, 1.5G or a number of bytes", text));
            }
            *size_bytes = *size;
          },
          description)
      ->type_name("SIZE");
}

CLI::Option* add_json_option(CLI::App& command, bool* json) {
  return command.add_flag("--json", *json, "Print JSON for programs instead of text for people");
}

CLI::Option* add_volume_argument(CLI::App& command, std::string* volume) {
  return command.add_option("VOLUME", *volume, "The file or block device that holds the volume")
      ->required();
}

int run_command_line(const std::vector<std::string>& arguments, const Context& outer) {
  Context context = outer;
  CLI::App app(program_description, "handback");
  const auto formatter = std::make_shared<HelpFormatter>();
  formatter->set_usage(&app, "[--engine ENGINE] COMMAND ...");
  app.formatter(formatter);
  app.footer(program_footer);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("handback ") + HB_VERSION_STRING);
  app.set_help_flag("-h,--help", "Print this help and exit");

  const std::map<std::string, handback::HostEngine> engines{
      {"auto", handback::HostEngine::automatic},
      {"io_uring", handback::HostEngine::io_uring},
      {"threads", handback::HostEngine::threads}};
  app.add_option("--engine", context.engine, "How to do I/O: auto (default), io_uring, or threads")
      ->transform(CLI::CheckedTransformer(engines).description(""))
      ->type_name("ENGINE");

  add_format_command(app, context);
  add_copy_commands(app, context);
  add_cat_command(app, context);
  add_list_commands(app, context);
  add_stat_command(app, context);
  add_name_commands(app, context);
  add_space_commands(app, context);
  add_grow_command(app, context);
  add_volume_commands(app, context);
  add_check_command(app, context);
  add_trace_command(app, context);
  add_bench_command(app, context);

  try {
    // CLI11 takes them last first.
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(std::move(reversed));
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    const auto chosen = app.get_subcommands();
    const std::string name = chosen.empty() ? "" : " " + chosen.front()->get_name();
    print_error(fmt::format("{}; see 'handback{} --help'", printable(error.what()), name));
    return exit_usage;
  }
  return context.parse_only ? exit_ok : run_action(context);
}

}  // namespace tool
