#include "demo/crash.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>

#include "common/copy_tree.h"
#include "common/failure.h"
#include "common/host_fd.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/volume_session.h"

namespace tool {
namespace {

// Often enough that even a fast disk has commits to recover from; the default suits longer lives.
constexpr std::uint32_t commit_interval_ms = 50;

static_assert(sizeof(ChildReport) <= 512, "PIPE_BUF: a report arrives whole or not at all");

// The child's life. Never returns.
[[noreturn]] void copy_in_child(const std::string& volume_path, const HostTree& tree,
                                int report_fd) {
  // An orphan would hold the volume.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int exit_code = exit_ok;
  try {
    SessionOptions options;
    options.writable = true;
    options.commit_interval_ms = commit_interval_ms;
    VolumeSession session(volume_path, options);
    const std::uint64_t started_ns = monotonic_ns();
    const CopyReport copied =
        put_tree(session.volume(), session.issuer(), tree, [&](const CopyProgress& now) {
          const handback::IssuerStats& stats = session.issuer().stats();
          ChildReport report;
          report.done_bytes = now.done_bytes;
          report.total_bytes = now.total_bytes;
          report.elapsed_ns = monotonic_ns() - started_ns;
          report.in_flight = session.issuer().in_flight();
          std::copy(std::begin(stats.by_route), std::end(stats.by_route), report.by_route);
          // If nobody listens any more, this process is about to be killed.
          const ssize_t ignored = write(report_fd, &report, sizeof(report));
          static_cast<void>(ignored);
        });
    session.close();
    exit_code = copy_exit_code(copied);
  } catch (const Failure& failure) {
    print_error(failure.what());
    exit_code = failure.exit_code();
  } catch (const std::exception& error) {
    print_error(error.what());
    exit_code = exit_failed;
  }
  _exit(exit_code);
}

// The child's next report; nothing when it has ended or a signal came.
std::optional<ChildReport> next_report(int fd) {
  ChildReport report;
  for (;;) {
    const ssize_t bytes = read(fd, &report, sizeof(report));
    if (bytes == static_cast<ssize_t>(sizeof(report))) return report;
    if (bytes < 0 && errno == EINTR && interrupted_by() == 0) continue;
    return std::nullopt;
  }
}

int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

ChildReport copy_and_kill(const std::string& volume_path, const HostTree& tree,
                          std::uint64_t kill_at_bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw failure_of_errno(errno, "pipe");
  HostFd reader(ends[0]);
  HostFd writer(ends[1]);
  // A full pipe stops the child, so it is never far ahead of what this process has read.
  fcntl(writer.get(), F_SETPIPE_SZ, 4096);
  // What is buffered would be printed twice.
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) throw failure_of_errno(errno, "fork");
  if (pid == 0) copy_in_child(volume_path, tree, writer.get());
  writer = HostFd();

  ChildReport last;
  {
    Progress progress("copying");
    while (last.done_bytes < kill_at_bytes) {
      const auto report = next_report(reader.get());
      if (!report) break;
      last = *report;
      progress.update(last.done_bytes, last.total_bytes);
    }
  }
  kill(pid, SIGKILL);
  while (const auto report = next_report(reader.get()))
    last = *report;
  const int status = wait_for(pid);
  if (interrupted_by() != 0)
    throw Failure(exit_signal_base + interrupted_by(), "stopped by a signal");
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && last.done_bytes >= kill_at_bytes &&
      last.done_bytes < last.total_bytes) {
    return last;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    throw Failure(exit_failed,
                  "the copy was over before it could be killed; use a larger tree or --size");
  }
  throw Failure(
      exit_failed,
      WIFEXITED(status)
          ? fmt::format("the copying process failed by itself, exit code {}", WEXITSTATUS(status))
          : fmt::format("the copying process died by itself, signal {}", WTERMSIG(status)));
}

}  // namespace tool
