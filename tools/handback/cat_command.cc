#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/paths.h"
#include "common/read_files.h"
#include "handback/command_line.h"

namespace tool {
namespace {

struct CatArguments {
  std::string volume;
  std::vector<std::string> paths;
};

class StandardOutputSink : public FileSink {
 public:
  bool wants(std::size_t) override { return true; }
  void begin(std::size_t) override {}
  void end(std::size_t) override {}
  void data(std::size_t, std::uint64_t, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = write(STDOUT_FILENO, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR && interrupted_by() == 0) continue;
      if (written < 0) {
        throw Failure(exit_failed, fmt::format("standard output: {}", std::strerror(errno)));
      }
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
};

int run_cat(const CatArguments& arguments, const Context& context) {
  VolumeSession session(arguments.volume, context.reading());
  std::vector<std::string> paths;
  // All are looked up first: half an output is worse than none.
  for (const auto& path : arguments.paths) {
    const std::string normal = normal_path(path);
    const handback::FileInfo info = value_of(session.volume().stat(normal), normal);
    if (info.type == handback::FileType::directory) {
      throw Failure(exit_failed, normal + ": is a directory; name a file, or use get");
    }
    paths.push_back(normal);
  }
  StandardOutputSink sink;
  read_files(session.volume(), session.issuer(), paths, sink);
  session.close();
  return exit_ok;
}

}  // namespace

void add_cat_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<CatArguments>();
  CLI::App* command =
      add_command(app, {.group = "Files",
                        .name = "cat",
                        .description = "Print the content of files to standard output",
                        .usage = "cat VOLUME PATH...",
                        .footer = R"(Examples:
  handback cat vol.img /notes/todo.txt
  handback cat vol.img /backup.tar | tar -t
)"});
  add_volume_argument(*command, &arguments->volume);
  command->add_option("PATH", arguments->paths, "Files of the volume")->required();
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_cat(*arguments, context); };
  });
}

}  // namespace tool
