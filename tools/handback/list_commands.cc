// ls.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/paths.h"
#include "common/text.h"
#include "handback/command_line.h"
#include "handback/info_json.h"

namespace tool {
namespace {

struct ListArguments {
  std::string volume;
  std::string path = "/";
  bool details = false;
  bool recursive = false;
  bool exact = false;
  bool json = false;
};

struct Listed {
  std::string shown;  // A name, or a whole path when listing recursively.
  std::string path;
  handback::FileInfo info;
};

std::vector<Listed> list(const handback::Volume& volume, const std::string& path, bool recursive) {
  std::vector<Listed> listed;
  if (recursive) {
    for (auto& entry : list_tree(volume, path)) {
      if (entry.path != path || entry.info.type == handback::FileType::regular) {
        listed.push_back({entry.path, entry.path, entry.info});
      }
    }
    return listed;
  }
  const handback::FileInfo info = value_of(volume.stat(path), path);
  if (info.type == handback::FileType::regular) return {{path, path, info}};
  for (auto& entry : value_of(volume.list(path), path)) {
    listed.push_back({entry.name, join_path(path, entry.name), entry.info});
  }
  return listed;
}

void print_details(const std::vector<Listed>& listed, bool exact) {
  Table table({Align::right, Align::left, Align::left});
  for (const auto& item : listed) {
    const bool is_directory = item.info.type == handback::FileType::directory;
    std::string size;
    if (is_directory) {
      size = count_of(item.info.size_bytes, "entry", "entries");
    } else {
      size = exact ? fmt::format("{}", item.info.size_bytes) : human_size(item.info.size_bytes);
    }
    table.add_row(
        {size, local_time(item.info.mtime_ns), printable(item.shown) + (is_directory ? "/" : "")});
  }
  table.print(stdout);
}

int run_ls(const ListArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.reading());
  const std::string path = normal_path(arguments.path);
  const std::vector<Listed> listed = list(session.volume(), path, arguments.recursive);
  if (arguments.json) {
    auto entries = nlohmann::ordered_json::array();
    for (const auto& item : listed) {
      auto entry = file_info_json(item.path, item.info);
      entry["name"] = base_name(item.path);
      entries.push_back(std::move(entry));
    }
    fmt::print("{}\n",
               json_text({{"command", "ls"}, {"path", path}, {"entries", std::move(entries)}}));
  } else if (arguments.details) {
    print_details(listed, arguments.exact);
  } else {
    for (const auto& item : listed) {
      fmt::print("{}{}\n", printable(item.shown),
                 item.info.type == handback::FileType::directory ? "/" : "");
    }
  }
  session.close();
  return exit_ok;
}

}  // namespace

void add_list_commands(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<ListArguments>();
  CLI::App* command = add_command(app, {.group = "Files",
                                        .name = "ls",
                                        .description = "List a directory of a volume",
                                        .usage = "ls VOLUME [PATH] [-l] [-R] [--json]",
                                        .footer = R"(Names of directories end in '/'.

Examples:
  handback ls vol.img
  handback ls -l vol.img /etc
  handback ls -lR --bytes vol.img | sort -n     the largest files last
)"});
  add_volume_argument(*command, &arguments->volume);
  command->add_option("PATH", arguments->path,
                      "A directory or file of the volume; '/' if left out");
  command->add_flag("-l,--long", arguments->details, "With sizes and times");
  command->add_flag("-R,--recursive", arguments->recursive,
                    "With everything below, as whole paths");
  command->add_flag("--bytes", arguments->exact, "With -l: exact sizes");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_ls(*arguments, context); };
  });
}

}  // namespace tool
