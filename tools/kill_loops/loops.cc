#include "kill_loops/loops.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <random>

#include "common/failure.h"
#include "common/host_fd.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/volume_session.h"
#include "kill_loops/verifier.h"

namespace tool::kill_loops {
namespace {

// One loop in eight is killed before the writer has begun: while it opens the volume and recovers.
constexpr std::uint64_t one_in_recovery_of = 8;
constexpr std::uint64_t recovery_us_max = 12'000;
constexpr std::uint64_t work_us_max = 150'000;
constexpr std::uint64_t start_seconds_max = 60;

// Memory that the writer, a program of its own, sees as well.
class Shared {
 public:
  Shared() : file_(memfd_create("acknowledged", 0)) {
    if (file_.get() < 0 || ftruncate(file_.get(), sizeof(SharedState)) != 0) {
      throw failure_of_errno(errno, "shared memory");
    }
    void* memory =
        mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    if (memory == MAP_FAILED) throw failure_of_errno(errno, "shared memory");
    state_ = static_cast<SharedState*>(memory);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(state_, sizeof(SharedState)); }

  [[nodiscard]] SharedState& state() { return *state_; }
  [[nodiscard]] int fd() const { return file_.get(); }

 private:
  HostFd file_;
  SharedState* state_ = nullptr;
};

class Folder {
 public:
  explicit Folder(const std::string& parent) : path_(parent + "/handback-kill-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) throw failure_of_errno(errno, parent);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    if (keep) return;
    unlink(volume().c_str());
    rmdir(path_.c_str());
  }
  [[nodiscard]] std::string volume() const { return path_ + "/volume.img"; }
  bool keep = false;

 private:
  std::string path_;
};

void sleep_us(std::uint64_t us) {
  timespec left{static_cast<time_t>(us / 1'000'000), static_cast<long>(us % 1'000'000 * 1000)};
  while (nanosleep(&left, &left) != 0 && errno == EINTR && interrupted_by() == 0) {
  }
}

// The writer is this program anew: nothing of what runs here goes on in it.
pid_t start_writer(const std::string& volume, const LoopOptions& options, std::uint64_t seed,
                   int shared_fd) {
  std::vector<std::string> words{"handback-kill-loops",
                                 "--write",
                                 volume,
                                 "--shared",
                                 std::to_string(shared_fd),
                                 "--seed",
                                 std::to_string(seed),
                                 "--threads",
                                 std::to_string(options.threads)};
  if (options.lies) words.emplace_back("--lie");
  if (options.engine != handback::HostEngine::automatic) {
    words.insert(
        words.end(),
        {"--engine", options.engine == handback::HostEngine::threads ? "threads" : "io_uring"});
  }
  std::vector<char*> arguments;
  for (std::string& word : words)
    arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) throw failure_of_errno(errno, "a writer");
  if (pid == 0) {
    execv("/proc/self/exe", arguments.data());
    _exit(127);
  }
  return pid;
}

// True once the writer is at work; false if it ended by itself.
bool await_ready(const SharedState& shared, pid_t pid) {
  const std::uint64_t until = monotonic_ns() + start_seconds_max * 1'000'000'000;
  while (shared.ready == 0 && shared.failed == 0) {
    siginfo_t ended{};
    if (waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        ended.si_pid == pid) {
      return false;
    }
    if (interrupted_by() != 0 || monotonic_ns() > until) return false;
    sleep_us(200);
  }
  return true;
}

void stop_if_interrupted() {
  if (interrupted_by() != 0) {
    throw Failure(exit_signal_base + interrupted_by(), "stopped by a signal");
  }
}

class Loops {
 public:
  Loops(const LoopOptions& options, LoopResult& result)
      : options_(options), result_(result), random_(options.seed), folder_(options.directory) {
    value_of(handback::create_host_file(folder_.volume(), options.size_bytes), folder_.volume());
    SessionOptions writing;
    writing.writable = true;
    writing.engine = options.engine;
    const DeviceSession session(folder_.volume(), writing);
    value_of(handback::Volume::format(session.issuer(), session.device()), folder_.volume());
    result_.engine = handback::host_engine_name(session.device());
    result_.unit_bytes = session.device().geometry().logical_block_bytes;
  }

  // False if there was a violation.
  bool once() {
    SharedState& shared = shared_.state();
    shared.ready = 0;
    const bool in_recovery = random_() % one_in_recovery_of == 0;
    const std::uint64_t seed = random_() >> 16;
    const std::uint64_t pause_us = random_() % (in_recovery ? recovery_us_max : work_us_max);
    const bool close = random_() % 2 == 0;
    const pid_t pid = start_writer(folder_.volume(), options_, seed, shared_.fd());
    const bool at_work = in_recovery || await_ready(shared, pid);
    if (at_work) sleep_us(pause_us);
    kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    stop_if_interrupted();
    ++result_.loops;
    ++(shared.ready != 0 ? result_.killed_at_work : result_.killed_in_recovery);
    if (shared.failed != 0) {
      result_.violations.push_back(fmt::format("the writer was told: {}", shared.failure));
    } else if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
      result_.violations.emplace_back("the writer ended by itself");
    }
    const VerifyResult found = verify({.volume = folder_.volume(),
                                       .threads = options_.threads,
                                       .engine = options_.engine,
                                       .close = close,
                                       .empty_log = random_() % 4 == 0},
                                      shared);
    result_.recoveries += found.recovered ? 1 : 0;
    result_.records_replayed += found.records_replayed;
    result_.writes_dropped += found.writes_dropped;
    result_.units_read += found.units_read;
    result_.violations.insert(result_.violations.end(), found.violations.begin(),
                              found.violations.end());
    for (unsigned act = 0; act < act_count; ++act)
      result_.acknowledged[act] = shared.acknowledged[act];
    if (options_.keep && !result_.violations.empty()) {
      folder_.keep = true;
      result_.kept = folder_.volume();
    }
    return result_.violations.empty();
  }

 private:
  const LoopOptions& options_;
  LoopResult& result_;
  std::mt19937_64 random_;
  Folder folder_;
  Shared shared_;
};

}  // namespace

LoopResult run_loops(const LoopOptions& options) {
  const InterruptGuard guard;
  LoopResult result;
  const std::uint64_t started_ns = monotonic_ns();
  Loops loops(options, result);
  Progress progress("killing", Progress::Unit::runs);
  while (result.loops < options.loops && loops.once())
    progress.update(result.loops, options.loops);
  result.seconds = static_cast<double>(monotonic_ns() - started_ns) * 1e-9;
  return result;
}

}  // namespace tool::kill_loops
