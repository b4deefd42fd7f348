#include "tests/program.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

namespace tool::testing {
namespace {

constexpr unsigned nobody_id = 65534;

std::string read_to_end(int fd) {
  std::string text;
  char piece[4096];
  for (;;) {
    const ssize_t bytes = read(fd, piece, sizeof(piece));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) break;
    text.append(piece, static_cast<std::size_t>(bytes));
  }
  close(fd);
  return text;
}

[[noreturn]] void become(const std::string& program, const std::vector<std::string>& arguments,
                         const RunOptions& options, int out, int err) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  if (options.as_nobody &&
      (setgroups(0, nullptr) != 0 || setgid(nobody_id) != 0 || setuid(nobody_id) != 0)) {
    _exit(126);
  }
  std::vector<char*> pointers{const_cast<char*>(program.c_str())};
  for (const auto& argument : arguments)
    pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  execv(program.c_str(), pointers.data());
  _exit(127);
}

}  // namespace

Ran run_program(const std::string& program, const std::vector<std::string>& arguments,
                const RunOptions& options) {
  int out[2];
  int err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const pid_t pid = fork();
  if (pid < 0) throw std::runtime_error("fork");
  if (pid == 0) become(program, arguments, options, out[1], err[1]);
  close(out[1]);
  close(err[1]);
  Ran ran;
  // Both at once: a program that waits for one to be read must not wait for ever.
  std::thread reader([&] { ran.err = read_to_end(err[0]); });
  std::thread watcher([&] {
    if (options.meanwhile) options.meanwhile(pid);
  });
  ran.out = read_to_end(out[0]);
  reader.join();
  watcher.join();
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ran;
}

Ran run(const std::vector<std::string>& arguments, const RunOptions& options) {
  return run_program(HB_PROGRAM, arguments, options);
}

ProgramTest::ProgramTest() {
  const char* parent = std::getenv("TMPDIR");
  folder_ = std::string(parent != nullptr ? parent : "/tmp") + "/handback-cli-XXXXXX";
  if (mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("mkdtemp " + folder_);
  chmod(folder_.c_str(), 0755);
}

ProgramTest::~ProgramTest() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string ProgramTest::make_volume(const std::string& name, const std::string& size) {
  std::string image = path(name);
  std::filesystem::create_directories(std::filesystem::path(image).parent_path());
  EXPECT_RAN(run({"format", image, "--size", size}));
  return image;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

std::string scrambled(std::size_t bytes, std::uint64_t seed) {
  std::string text(bytes, '\0');
  std::uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
  for (auto& letter : text) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    letter = static_cast<char>(state >> 56);
  }
  return text;
}

void set_mtime(const std::string& path, std::int64_t mtime_ns) {
  const timespec times[2] = {{0, UTIME_NOW}, {mtime_ns / 1'000'000'000, mtime_ns % 1'000'000'000}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

void expect_refused(const std::string& image, const std::vector<std::string>& arguments,
                    int exit_code, const std::vector<std::string>& words,
                    const RunOptions& options) {
  SCOPED_TRACE(::testing::PrintToString(arguments));
  const std::string before = read_file(image);
  const Ran ran = run(arguments, options);
  EXPECT_EQ(ran.exit_code, exit_code) << ran.out << ran.err;
  EXPECT_THAT(ran.err, ::testing::StartsWith("handback: "));
  for (const auto& word : words)
    EXPECT_THAT(ran.err, ::testing::HasSubstr(word));
  // Not EXPECT_EQ: a difference would print megabytes.
  EXPECT_TRUE(read_file(image) == before) << "the image was changed";
}

}  // namespace tool::testing
