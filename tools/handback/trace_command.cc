#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/host_fd.h"
#include "handback/command_line.h"

namespace tool {
namespace {

struct TraceArguments {
  std::string output;
  bool json = false;
};

nlohmann::ordered_json record_json(const handback::TraceRecord& record) {
  nlohmann::ordered_json json = {{"ino", record.file_id},
                                 {"offset", record.offset},
                                 {"length", record.length},
                                 {"flags", handback::to_string(record.flags)},
                                 {"route", handback::to_string(record.route)},
                                 {"reason", handback::to_string(record.reason)},
                                 {"result", handback::errc_name(record.result.code())},
                                 {"bytes", record.result.bytes()},
                                 {"submitted_ns", record.submitted_ns},
                                 {"settled_ns", record.settled_ns},
                                 {"delivered_ns", record.delivered_ns}};
  if (record.result.host_errno() != 0) json["errno"] = record.result.host_errno();
  return json;
}

// Lines go out in pieces, each with one system call; not through stdio, which loses bytes when a
// signal that is only noted cuts a write short.
class TracePrinter : public handback::TraceSink {
 public:
  TracePrinter(int fd, bool json) : fd_(fd), json_(json) {}

  // Out of memory ends the program here, as it would anywhere else in it.
  void write(std::span<const handback::TraceRecord> records) noexcept override {
    for (const auto& record : records) {
      pending_ += json_ ? json_text(record_json(record), -1) : handback::to_string(record);
      pending_ += '\n';
    }
    if (pending_.size() >= piece_bytes) flush();
  }

  // False if a line is missing.
  [[nodiscard]] bool finish() {
    flush();
    return !failed_;
  }

 private:
  static constexpr std::size_t piece_bytes = 16U << 10;

  void flush() noexcept {
    std::string_view rest = pending_;
    while (!rest.empty() && !failed_) {
      const ssize_t written = ::write(fd_, rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) failed_ = true;
      if (written > 0) rest.remove_prefix(static_cast<std::size_t>(written));
    }
    pending_.clear();
  }

  const int fd_;
  const bool json_;
  std::string pending_;
  bool failed_ = false;
};

int run_trace(const TraceArguments& arguments, const std::vector<std::string>& command,
              const Context& context) {
  if (command.empty()) {
    throw Failure(exit_usage, "trace: needs a command to run, for example 'put vol.img /etc /etc'");
  }
  if (command.front() == "trace") throw Failure(exit_usage, "trace: cannot trace itself");
  HostFd file;
  if (!arguments.output.empty()) {
    file = HostFd(open(arguments.output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (file.get() < 0) throw failure_of_errno(errno, arguments.output);
  }
  TracePrinter printer(file.get() < 0 ? STDERR_FILENO : file.get(), arguments.json);
  Context inner = context;
  inner.trace = &printer;
  const int exit_code = run_command_line(command, inner);
  if (!printer.finish()) {
    throw Failure(exit_failed,
                  fmt::format("{}: could not be written in full; the trace has gaps",
                              arguments.output.empty() ? "standard error" : arguments.output));
  }
  return exit_code;
}

}  // namespace

void add_trace_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<TraceArguments>();
  CLI::App* command = add_command(
      app, {.group = "Measuring",
            .name = "trace",
            .description = "Run a command of this program and print one line for each request",
            .usage = "trace [--output FILE] [--json] COMMAND ...",
            .footer =
                R"(A line has the request's file (inode number), offset and length in bytes,
flags by name, the route its completion took and why, its result, and when it
was settled and delivered, in microseconds after its submission (with --json:
clock readings in nanoseconds).

Routes: 'inline' needed no task, 'issuer' was handed back to the thread that
submitted it, 'waiter' was settled by a waiting caller, 'submit' ended while
it was submitted. Lines go to standard error, or to FILE.

Examples:
  handback trace put vol.img /etc /etc
  handback trace --output log.jsonl --json cat vol.img /file
)"});
  command->add_option("--output", arguments->output, "Write the lines to this file")
      ->type_name("FILE");
  command->add_flag("--json", arguments->json, "One JSON object a line");
  command->prefix_command();
  command->callback([arguments, command, &context] {
    const std::vector<std::string> rest = command->remaining();
    context.action = [arguments, rest, &context] { return run_trace(*arguments, rest, context); };
  });
}

}  // namespace tool
