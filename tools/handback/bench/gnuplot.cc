#include "handback/bench/gnuplot.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string_view>

#include "common/failure.h"

namespace tool {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using TemporaryFile = std::unique_ptr<std::FILE, CloseFile>;

TemporaryFile make_temporary(std::string_view content = {}) {
  TemporaryFile file(std::tmpfile());
  if (file == nullptr) throw failure_of_errno(errno, "a temporary file");
  const bool written =
      std::fwrite(content.data(), 1, content.size(), file.get()) == content.size() &&
      std::fflush(file.get()) == 0;
  if (!written) throw failure_of_errno(errno, "a temporary file");
  std::rewind(file.get());
  return file;
}

std::string content_of(std::FILE* file) {
  std::rewind(file);
  std::string text;
  char piece[4096];
  for (std::size_t length = 0; (length = std::fread(piece, 1, sizeof piece, file)) != 0;)
    text.append(piece, length);
  return text;
}

// What gnuplot writes to standard output. Files on its three ends: none of them can block.
std::string run_gnuplot(const char* option, std::string_view script) {
  const TemporaryFile in = make_temporary(script);
  const TemporaryFile out = make_temporary();
  const TemporaryFile err = make_temporary();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(in.get()), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(out.get()), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(err.get()), STDERR_FILENO);
  std::string name = "gnuplot";
  std::string argument = option;
  char* const arguments[] = {name.data(), argument.data(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, "gnuplot", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    throw Failure(exit_failed,
                  "--plot needs gnuplot, which is not installed; on Debian: apt-get install "
                  "gnuplot-nox");
  }
  if (error != 0) throw failure_of_errno(error, "gnuplot");
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw Failure(exit_failed, fmt::format("gnuplot failed: {}", content_of(err.get())));
  }
  return content_of(out.get());
}

}  // namespace

void require_gnuplot() {
  run_gnuplot("--version", {});
}

void draw_svg(const std::string& script, const std::string& path) {
  const std::string svg = run_gnuplot("-", script);
  errno = 0;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << svg;
  out.close();
  if (!out) throw failure_of_errno(errno, path);
}

}  // namespace tool
