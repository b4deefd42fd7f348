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

struct StatArguments {
  std::string volume;
  std::string path;
  bool json = false;
};

std::string extent_flags(const handback::ExtentInfo& extent, std::uint64_t size_bytes) {
  std::string flags = extent.unwritten ? "unwritten" : "written";
  if (extent.offset + extent.length > size_bytes) {
    flags += extent.offset >= size_bytes ? ",beyond-end" : ",last";
  }
  return flags;
}

void print_stat(const std::string& path, const handback::FileInfo& info,
                const std::vector<handback::ExtentInfo>& extents) {
  const bool is_directory = info.type == handback::FileType::directory;
  Table fields({Align::left, Align::left});
  fields.add_row({"path", printable(path)});
  fields.add_row({"type", std::string(file_type_name(info.type))});
  fields.add_row({"inode", fmt::format("{}", info.ino)});
  fields.add_row({"links", fmt::format("{}", info.nlink)});
  if (is_directory) {
    fields.add_row({"entries", grouped(info.size_bytes)});
  } else {
    fields.add_row({"size", fmt::format("{} ({})", count_of(info.size_bytes, "byte", "bytes"),
                                        human_size(info.size_bytes))});
    fields.add_row({"allocated", human_size(info.allocated_bytes)});
  }
  fields.add_row({"modified", local_time(info.mtime_ns)});
  if (!is_directory) fields.add_row({"extents", grouped(info.extent_count)});
  fields.print(stdout);
  if (extents.empty()) return;
  fmt::print("\n");
  Table table({Align::right, Align::right, Align::right, Align::left});
  table.add_row({"offset", "length", "device address", "flags"});
  for (const auto& extent : extents) {
    table.add_row({fmt::format("{}", extent.offset), fmt::format("{}", extent.length),
                   fmt::format("{}", extent.addr), extent_flags(extent, info.size_bytes)});
  }
  table.print(stdout, "  ");
}

int run_stat(const StatArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.reading());
  const std::string path = normal_path(arguments.path);
  const handback::FileInfo info = value_of(session.volume().stat(path), path);
  std::vector<handback::ExtentInfo> extents;
  if (info.type == handback::FileType::regular) {
    extents = value_of(session.volume().open_file(session.issuer(), path), path)->extents();
  }
  if (arguments.json) {
    nlohmann::ordered_json json = {{"command", "stat"}};
    json.update(file_info_json(path, info));
    json["extents"] = nlohmann::ordered_json::array();
    for (const auto& extent : extents)
      json["extents"].push_back(extent_json(extent));
    fmt::print("{}\n", json_text(json));
  } else {
    print_stat(path, info, extents);
  }
  session.close();
  return exit_ok;
}

}  // namespace

void add_stat_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<StatArguments>();
  CLI::App* command = add_command(
      app, {.group = "Files",
            .name = "stat",
            .description = "Show a file: size, time, and where its bytes lie on the device",
            .usage = "stat VOLUME PATH [--json]",
            .footer =
                R"(Flags of an extent: 'written', or 'unwritten' (reserved, reads as zeros);
'last' if the file ends within it; 'beyond-end' if it lies behind the file's
end. What no extent covers is a hole.

Example:
  handback stat vol.img /db/table.0
)"});
  add_volume_argument(*command, &arguments->volume);
  command->add_option("PATH", arguments->path, "A file or directory of the volume")->required();
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_stat(*arguments, context); };
  });
}

}  // namespace tool
