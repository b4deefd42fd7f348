#include "exerciser/run.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace exerciser {
namespace {

constexpr std::uint64_t episode_operations = 4'000;
// One episode that takes that long hangs.
constexpr unsigned episode_seconds_max = 100;

std::atomic<const Log*> current_log{nullptr};
char current_replay[256];

std::string replay_of(const RunOptions& options, std::uint64_t seed, std::uint64_t operations) {
  return std::string("handback-exerciser --device ") + options.device->name + " --seed " +
         std::to_string(seed) + " --operations " + std::to_string(operations) +
         " (HB_SEED=" + std::to_string(seed) +
         " HB_EXERCISER_OPERATIONS=" + std::to_string(operations) + " of a test)";
}

void on_signal(int signal) {
  const char* what = signal == SIGALRM ? "an episode hangs; " : "";
  const Log* log = current_log.load();
  if (log != nullptr && ::write(STDERR_FILENO, what, std::strlen(what)) >= 0 &&
      ::write(STDERR_FILENO, current_replay, std::strlen(current_replay)) >= 0)
    log->write_to(STDERR_FILENO);
  if (signal == SIGALRM) ::_exit(1);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

void tell_on_signals() {
  std::signal(SIGALRM, on_signal);
  std::signal(SIGABRT, on_signal);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  std::signal(SIGSEGV, on_signal);
#endif
}

RunReport run_exerciser(const RunOptions& options) {
  RunReport report;
  const auto from = std::chrono::steady_clock::now();
  const auto device = make_device(*options.device, &report.skipped);
  if (device == nullptr) return report;
  for (std::uint64_t seed = options.seed;
       report.counters.lanes.operations < options.operations && report.violation.empty(); ++seed) {
    const std::uint64_t left = options.operations - report.counters.lanes.operations;
    const std::uint64_t operations = std::min(left, episode_operations);
    Log log;
    std::snprintf(current_replay, sizeof current_replay, "replay: %s\n",
                  replay_of(options, seed, operations).c_str());
    current_log = &log;
    ::alarm(episode_seconds_max);
    Episode episode(*options.device, *device, seed, log);
    try {
      episode.run(operations);
    } catch (const Violation& found) {
      report.violation = found.what + "\nreplay: " + replay_of(options, seed, operations) +
                         "\nlast operations:\n" + log.text();
    }
    report.counters.add(episode.counters());
    ++report.episodes;
    current_log = nullptr;
  }
  ::alarm(0);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
  return report;
}

}  // namespace exerciser
