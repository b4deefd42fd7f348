// punch: holes in files; preallocate: space for them. Durable when the program has ended.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "common/failure.h"
#include "common/paths.h"
#include "common/text.h"
#include "handback/command_line.h"

namespace tool {
namespace {

struct SpaceArguments {
  std::string volume;
  std::string path;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
  bool keep = false;
  handback::PreallocateOptions preallocate;
  bool initialised = false;
};

std::unique_ptr<handback::VolumeFile> open_file(VolumeSession& session, const std::string& path) {
  return value_of(session.volume().open_file(session.issuer(), path), path);
}

int run_punch(const SpaceArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.writing());
  const std::string path = normal_path(arguments.path);
  {
    const auto file = open_file(session, path);
    const std::uint64_t rest = file->size() - std::min(file->size(), arguments.offset);
    const std::uint64_t length = arguments.length.value_or(rest);
    value_of(arguments.keep ? file->zero_range(session.issuer(), arguments.offset, length)
                            : file->punch(session.issuer(), arguments.offset, length),
             path);
  }
  session.close();
  return exit_ok;
}

int run_preallocate(const SpaceArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.writing());
  const std::string path = normal_path(arguments.path);
  {
    const auto file =
        value_of(session.volume().open_file(session.issuer(), path, {.create = true}), path);
    handback::PreallocateOptions options = arguments.preallocate;
    if (arguments.initialised) options.mode = handback::PreallocateMode::initialised;
    value_of(file->preallocate(session.issuer(), arguments.offset, *arguments.length, options),
             path);
  }
  session.close();
  return exit_ok;
}

CLI::Option* add_range_options(CLI::App& command, SpaceArguments& arguments,
                               const char* length_description) {
  add_size_option(command, "--offset", &arguments.offset, "Where it begins; 0 unless given");
  return command
      .add_option_function<std::string>(
          "--length",
          [&arguments](const std::string& text) {
            const auto size = parse_size(text);
            if (!size) {
              throw CLI::ValidationError(
                  "--length",
                  fmt::format("'{}' is not a size; write 64M, 1.5G or a number of bytes", text));
            }
            arguments.length = *size;
          },
          length_description)
      ->type_name("SIZE");
}

}  // namespace

void add_space_commands(CLI::App& app, Context& context) {
  const auto punch = std::make_shared<SpaceArguments>();
  CLI::App* command = add_command(
      app, {.group = "Files",
            .name = "punch",
            .description = "Make a hole in a file: free the space of a part of it",
            .usage = "punch VOLUME PATH [--offset SIZE] [--length SIZE] [--keep-space]",
            .footer =
                R"(The range reads as zeros afterwards, and the file's size stays. Only whole blocks
of 4096 bytes are freed; what of others lies in the range is zeroed.

Examples:
  handback punch vol.img /log.0 --length 64M
  handback punch vol.img /db/table --offset 1G --length 1M --keep-space
)"});
  add_volume_argument(*command, &punch->volume);
  command->add_option("PATH", punch->path, "A file of the volume")->required();
  add_range_options(*command, *punch, "How long it is; to the end of the file unless given");
  command->add_flag("--keep-space", punch->keep, "Zero the range, but leave its space to the file");
  command->callback([punch, &context] {
    context.action = [punch, &context] { return run_punch(*punch, context); };
  });

  const auto preallocate = std::make_shared<SpaceArguments>();
  command = add_command(
      app,
      {.group = "Files",
       .name = "preallocate",
       .description = "Give a file space before it is written",
       .usage = "preallocate VOLUME PATH --length SIZE [--offset SIZE] [--initialised] "
                "[--extend]",
       .footer =
           R"(Makes the file if there is none. Reserved space reads as zeros and takes a change of
metadata when it is first written; initialised space was written with zeros, so
that writing it later is a pure overwrite.

Example:
  handback preallocate vol.img /db/wal --length 1G --initialised --extend
)"});
  add_volume_argument(*command, &preallocate->volume);
  command->add_option("PATH", preallocate->path, "A file of the volume")->required();
  add_range_options(*command, *preallocate, "How long it is")->required();
  command->add_flag("--initialised", preallocate->initialised, "Write zeros to it now");
  command->add_flag("--extend", preallocate->preallocate.extend_size,
                    "The file ends at the end of the range at least");
  command->callback([preallocate, &context] {
    context.action = [preallocate, &context] { return run_preallocate(*preallocate, context); };
  });
}

}  // namespace tool
