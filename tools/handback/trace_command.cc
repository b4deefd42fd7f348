#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>

#include "common/failure.h"
#include "common/host_fd.h"
#include "common/text.h"
#include "handback/command_line.h"
#include "handback/trace_output.h"

namespace tool {
namespace {

struct TraceArguments {
  std::string output;
  handback::TraceFormat format = handback::TraceFormat::ftrace;
  bool json = false;
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
  TraceOutput trace(file.get() < 0 ? STDERR_FILENO : file.get(),
                    arguments.json ? handback::TraceFormat::json : arguments.format);
  const int exit_code = run_command_line(command, context);
  trace.stop();
  if (trace.lost() != 0) {
    print_error(
        fmt::format("trace: {} lost, because they came faster than they could be written; "
                    "the trace says where (handback_lost); write it to a faster place",
                    count_of(trace.lost(), "event was", "events were")));
  }
  if (!trace.complete()) {
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
            .description = "Run a command of this program and record what happens to each request",
            .usage = "trace [--output FILE] [--format FORMAT] COMMAND ...",
            .footer =
                R"(Formats: 'ftrace' is text, laid out as the kernel's own traces; 'json' is one
object a line; 'chrome' is a file for https://ui.perfetto.dev or
chrome://tracing, with a span for each request.

A request has three events: iomap_dio_rw_begin when it starts,
iomap_dio_complete when it is settled, with route, reason and context, and
handback_deliver when its callback runs; iomap_dio_rw_queued comes between if
it left I/O in flight. Offsets and lengths are bytes. The library's
docs/tracing.md explains every event and field.

Routes: 'inline' needed no task, 'issuer' was handed back to the thread that
submitted it, 'worker' was settled by a worker thread, 'waiter' by a waiting
caller, 'submit' ended while it was submitted.

The trace goes to standard error, or to FILE.

Examples:
  handback trace put vol.img /etc /etc
  handback trace --output trace.json --format chrome cat vol.img /file
)"});
  const std::map<std::string, handback::TraceFormat> formats{
      {"ftrace", handback::TraceFormat::ftrace},
      {"json", handback::TraceFormat::json},
      {"chrome", handback::TraceFormat::chrome}};
  command->add_option("--output", arguments->output, "Write the trace to this file")
      ->type_name("FILE");
  CLI::Option* format =
      command->add_option("--format", arguments->format, "ftrace (default), json, or chrome")
          ->transform(CLI::CheckedTransformer(formats).description(""))
          ->type_name("FORMAT");
  command->add_flag("--json", arguments->json, "The same as --format json")->excludes(format);
  command->prefix_command();
  command->callback([arguments, command, &context] {
    const std::vector<std::string> rest = command->remaining();
    context.action = [arguments, rest, &context] { return run_trace(*arguments, rest, context); };
  });
}

}  // namespace tool
