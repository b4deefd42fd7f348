// mkdir, mv, ln, rm: changes of names. Each is durable when the program has ended.
#include <fmt/format.h>

#include <memory>

#include "common/failure.h"
#include "common/paths.h"
#include "handback/command_line.h"

namespace tool {
namespace {

struct NameArguments {
  std::string volume;
  std::vector<std::string> paths;
  bool parents = false;
  bool recursive = false;
  bool force = false;
};

int run_mkdir(const NameArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.writing());
  for (const auto& path : arguments.paths) {
    const std::string normal = normal_path(path);
    if (arguments.parents) {
      make_directories(session.volume(), normal);
    } else {
      value_of(session.volume().mkdir(normal), normal);
    }
  }
  session.close();
  return exit_ok;
}

int run_mv(const NameArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.writing());
  const std::string from = normal_path(arguments.paths[0]);
  std::string to = normal_path(arguments.paths[1]);
  const auto existing = session.volume().stat(to);
  if (existing && existing->type == handback::FileType::directory && from != to) {
    to = join_path(to, base_name(from));
  }
  value_of(session.volume().rename(from, to), from);
  session.close();
  return exit_ok;
}

int run_ln(const NameArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.writing());
  const std::string existing = normal_path(arguments.paths[0]);
  std::string name = normal_path(arguments.paths[1]);
  const auto found = session.volume().stat(name);
  if (found && found->type == handback::FileType::directory) {
    name = join_path(name, base_name(existing));
  }
  value_of(session.volume().link(existing, name), name);
  session.close();
  return exit_ok;
}

void remove(handback::Volume& volume, const std::string& path, const NameArguments& arguments) {
  const auto info = volume.stat(path);
  if (!info && info.error().code() == handback::Errc::not_found && arguments.force) return;
  if (!info) throw failure_of(info.error(), path);
  if (info->type == handback::FileType::regular) {
    value_of(volume.unlink(path), path);
    return;
  }
  if (!arguments.recursive) {
    throw Failure(exit_failed, path + ": is a directory; -r removes it with everything in it");
  }
  const std::vector<VolumeEntry> entries = list_tree(volume, path);
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    const bool is_file = entry->info.type == handback::FileType::regular;
    value_of(is_file ? volume.unlink(entry->path) : volume.rmdir(entry->path), entry->path);
  }
}

int run_rm(const NameArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.writing());
  for (const auto& path : arguments.paths) {
    if (normal_path(path) == "/") {
      throw Failure(exit_failed,
                    "/: the root cannot be removed; 'handback format --force' empties a volume");
    }
  }
  for (const auto& path : arguments.paths)
    remove(session.volume(), normal_path(path), arguments);
  session.close();
  return exit_ok;
}

}  // namespace

void add_name_commands(CLI::App& app, Context& context) {
  const auto mkdir = std::make_shared<NameArguments>();
  CLI::App* command = add_command(app, {.group = "Files",
                                        .name = "mkdir",
                                        .description = "Make directories in a volume",
                                        .usage = "mkdir VOLUME PATH... [-p]",
                                        .footer = R"(Examples:
  handback mkdir vol.img /notes
  handback mkdir -p vol.img /a/b/c
)"});
  add_volume_argument(*command, &mkdir->volume);
  command->add_option("PATH", mkdir->paths, "Directories to make")->required();
  command->add_flag("-p,--parents", mkdir->parents,
                    "Make those above, too; no error if one is there already");
  command->callback([mkdir, &context] {
    context.action = [mkdir, &context] { return run_mkdir(*mkdir, context); };
  });

  const auto mv = std::make_shared<NameArguments>();
  command = add_command(
      app, {.group = "Files",
            .name = "mv",
            .description = "Rename or move a file or directory within a volume",
            .usage = "mv VOLUME FROM TO",
            .footer =
                R"(Atomic: after a crash it happened or it did not. A file at TO is replaced; if
TO is a directory, FROM goes into it.

Examples:
  handback mv vol.img /draft.txt /final.txt
  handback mv vol.img /final.txt /archive
)"});
  add_volume_argument(*command, &mv->volume);
  command->add_option("PATHS", mv->paths, "The old path and the new one")
      ->option_text("FROM TO")
      ->required()
      ->expected(2);
  command->callback(
      [mv, &context] { context.action = [mv, &context] { return run_mv(*mv, context); }; });

  const auto ln = std::make_shared<NameArguments>();
  command = add_command(
      app, {.group = "Files",
            .name = "ln",
            .description = "Give a file one more name",
            .usage = "ln VOLUME FILE NAME",
            .footer =
                R"(The file stays until its last name is removed. If NAME is a directory, the new
name goes into it. Directories have one name only, and there are no symbolic links.

Examples:
  handback ln vol.img /data/current /data/before-upgrade
)"});
  add_volume_argument(*command, &ln->volume);
  command->add_option("PATHS", ln->paths, "The file and its new name")
      ->option_text("FILE NAME")
      ->required()
      ->expected(2);
  command->callback(
      [ln, &context] { context.action = [ln, &context] { return run_ln(*ln, context); }; });

  const auto rm = std::make_shared<NameArguments>();
  command = add_command(app, {.group = "Files",
                              .name = "rm",
                              .description = "Remove files and directories from a volume",
                              .usage = "rm VOLUME PATH... [-r] [-f]",
                              .footer = R"(Examples:
  handback rm vol.img /old.txt
  handback rm -r vol.img /old-directory
)"});
  add_volume_argument(*command, &rm->volume);
  command->add_option("PATH", rm->paths, "What to remove")->required();
  command->add_flag("-r,--recursive", rm->recursive, "Directories with all that is in them");
  command->add_flag("-f,--force", rm->force, "No error if a path does not exist");
  command->callback(
      [rm, &context] { context.action = [rm, &context] { return run_rm(*rm, context); }; });
}

}  // namespace tool
