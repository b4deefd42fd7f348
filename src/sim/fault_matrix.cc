// Every kind of fault under every kind of operation: which outcomes there are, and which may be.
#include <fmt/format.h>
#include <handback/simulation.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>

#include "sim/crash_window.h"
#include "sim/operation.h"
#include "sim/scenario.h"
#include "sim/verifier.h"
#include "sim/world.h"

namespace handback::sim {
namespace {

using Clock = std::chrono::steady_clock;
using Operations = std::vector<Operation>;

// One row for each kind of operation, with what it needs to have something to do.
std::vector<Operations> rows() {
  using enum OperationKind;
  constexpr std::uint64_t k = 1024;
  return {
      {{write, "@a", {}, 0, 8 * k}},
      {{write, "@a", {}, 8 * k, 8 * k, true}},
      {{append, "@a", {}, 0, 4 * k}},
      {{append, "@a", {}, 0, 4 * k, true}},
      {{truncate, "@a", {}, 0, 4 * k + 512}},
      {{preallocate, "@a", {}, 12 * k, 16 * k}},
      {{set_mtime, "@a"}},
      {{create, "/n"}},
      {{mkdir, "/m"}},
      {{unlink, "/a"}},
      {{rmdir, "/e"}},
      {{rename, "/b", "/a"}},
      {{link, "/a", "/l"}},
      {{fsync, "@a"}, {write, "@a", {}, 12 * k, 4 * k}},
      {{sync_directory, "/d"}, {mkdir, "/d/s"}},
      {{sync}, {write, "@a", {}, 0, 4 * k}},
      {{freeze}, {write, "@a", {}, 12 * k, 4 * k}},
      {{reopen}, {write, "@a", {}, 12 * k, 4 * k, true}},
      {{read, "@a", {}, 0, 12 * k}},
  };
}

std::string name_of(const Operations& row) {
  return std::string(to_string(row.front().kind)) + (row.front().dsync ? " dsync" : "");
}

std::vector<BioOp> reaches(FaultKind kind) {
  switch (kind) {
    case FaultKind::lost_write:
    case FaultKind::misdirected_write:
      return {BioOp::write};
    case FaultKind::misdirected_read:
    case FaultKind::stale_read:
    case FaultKind::bit_rot:
    case FaultKind::latent_error:
      return {BioOp::read};
    case FaultKind::failed_flush:
    case FaultKind::ignored_flush:
      return {BioOp::flush};
    case FaultKind::short_transfer:
      return {BioOp::read, BioOp::write};
    default:
      return {BioOp::read, BioOp::write, BioOp::flush};
  }
}

// The deadline is what catches a bio that ends twice: below it, the memory of a bio that has ended
// is nobody's.
bool needs_deadline(FaultKind kind) {
  return kind == FaultKind::no_answer || kind == FaultKind::late_answer ||
         kind == FaultKind::ends_twice;
}

enum Outcome : unsigned {
  tolerated = 1,  // Every call succeeded, and every power cut after it leaves what was promised.
  reported = 2,   // A call said so; what is left is what was promised all the same.
  detected = 4,   // Opening or `check` names the damage.
  silent = 8,     // Something else is there, and nobody says so.
  caught = 16,    // The program was stopped: the device broke the contract of the seam.
};

// What may come of it. A device that lies about data is believed where there is no checksum of it,
// or none that is known (data_faults_test.cc holds that it is not believed elsewhere).
unsigned allowed(FaultKind kind) {
  switch (kind) {
    case FaultKind::lost_write:
    case FaultKind::misdirected_write:
    case FaultKind::misdirected_read:
    case FaultKind::stale_read:
    case FaultKind::bit_rot:
    case FaultKind::ignored_flush:
      return tolerated | reported | detected | silent;
    case FaultKind::ends_twice:
      return caught;
    case FaultKind::ends_on_other_thread:
      return tolerated;
    default:
      return tolerated | reported;
  }
}

struct MatrixStage {
  explicit MatrixStage(Cache cache, bool data_checksums = false)
      : world(device_options(cache, 4096, 4U << 20, 1)),
        verifier(world.device(), world.issuer(), seen) {
    verifier.use_every(0);
    fill_with_garbage(world.device(), 4U << 20);
    world.device().set_instant(true);
    problem = world.format(data_checksums);
    if (problem.empty()) problem = world.open();
    if (problem.empty()) problem = make_tree(world);
    const std::uint32_t last_write_id = world.history().last_write_id();
    if (problem.empty() && data_checksums) problem = world.close();
    world.kill();
    FoundVolume found;
    if (problem.empty()) problem = world.open();
    if (problem.empty()) problem = read_volume(world.issuer(), *world.volume(), &found);
    world.kill();
    world.device().set_instant(false);
    beginning = history_from(found, last_write_id);
    begin_ns = world.environment().monotonic_ns();
  }

  World world;
  SeenStates seen;
  Verifier verifier;
  History beginning;
  std::uint64_t begin_ns = 0;
  std::string problem;
};

struct Trial {
  unsigned outcome = 0;
  std::uint64_t hits = 0;
  std::string what;
};

class Matrix {
 public:
  explicit Matrix(const FaultMatrixOptions& options) : options_(options) {}

  FaultMatrixReport run() {
    const Clock::time_point start = Clock::now();
    // One more for checksums of data.
    for (unsigned cache = 0; cache < cache_count + 1; ++cache) {
      const bool checksums = cache == cache_count;
      stages_.push_back(std::make_unique<MatrixStage>(
          checksums ? Cache::fua : static_cast<Cache>(cache), checksums));
      if (!stages_.back()->problem.empty())
        report_.violations.push_back({"setting up", stages_.back()->problem});
    }
    if (!report_.violations.empty()) return std::move(report_);
    std::uint64_t index = 0;
    for (unsigned kind = 0; kind < fault_kind_count; ++kind) {
      for (const Operations& row : rows()) {
        if (index++ % options_.shares == options_.share) cell(static_cast<FaultKind>(kind), row);
      }
    }
    for (const auto& stage : stages_)
      report_.states += stage->verifier.counts().states;
    report_.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return std::move(report_);
  }

 private:
  void cell(FaultKind kind, const Operations& row) {
    FaultCell cell;
    cell.fault = to_string(kind);
    cell.operation = name_of(row);
    for (const auto& stage : stages_) {
      for (const BioOp op : reaches(kind)) {
        const std::uint64_t nth_max = kind == FaultKind::ends_twice ? 2 : options_.nth_max;
        for (std::uint64_t nth = 1; nth <= nth_max; ++nth) {
          const FaultRule rule{
              .kind = kind, .op = op, .nth = nth, .sticky = kind == FaultKind::io_error_sticky};
          const Trial trial = kind == FaultKind::ends_twice ? in_a_child(*stage, rule, row)
                                                            : attempt(*stage, rule, row);
          if (trial.hits == 0) break;
          count(cell, *stage, rule, trial);
        }
      }
    }
    if (cell.hits == 0)
      report_.violations.push_back(
          {cell.fault + " / " + cell.operation, "the fault was never reached"});
    report_.runs += cell.runs;
    report_.cells.push_back(std::move(cell));
  }

  void count(FaultCell& cell, MatrixStage& stage, const FaultRule& rule, const Trial& trial) {
    ++cell.runs;
    cell.hits += trial.hits;
    cell.tolerated += (trial.outcome & tolerated) != 0 ? 1 : 0;
    cell.reported += (trial.outcome & reported) != 0 ? 1 : 0;
    cell.detected += (trial.outcome & detected) != 0 ? 1 : 0;
    cell.silent += (trial.outcome & silent) != 0 ? 1 : 0;
    cell.caught += (trial.outcome & caught) != 0 ? 1 : 0;
    if ((trial.outcome & ~allowed(rule.kind)) == 0 && trial.outcome != 0) return;
    const Geometry& geometry = stage.world.device().geometry();
    report_.violations.push_back(
        {cell.fault + " / " + cell.operation, fmt::format("bio {} of the {}, {}: {}", rule.nth,
                                                          *rule.op == BioOp::read    ? "reads"
                                                          : *rule.op == BioOp::write ? "writes"
                                                                                     : "flushes",
                                                          !geometry.volatile_cache ? "write-through"
                                                          : geometry.fua           ? "FUA"
                                                                                   : "flush only",
                                                          trial.what)});
  }

  Trial attempt(MatrixStage& stage, const FaultRule& rule, const Operations& row) {
    World& world = stage.world;
    SimDevice& device = world.device();
    world.environment().set(stage.begin_ns, 7);
    device.set_seed(1);
    device.mark();
    world.set_history(stage.beginning);
    if (needs_deadline(rule.kind)) world.put_deadline();
    Trial trial;
    trial.what = world.open();
    world.name_slots();
    device.start_recording();
    // What the row needs first, and then the operation itself.
    for (std::size_t i = row.size(); i-- > 1 && trial.what.empty();)
      trial.what = world.run(row[i]);
    static_cast<void>(world.take_last_error());
    device.add_fault(rule);
    world.expect_faults(true);
    bool said = false;
    bool named = false;
    const auto note = [&] {
      const Errc error = world.take_last_error();
      said |= error != Errc::ok;
      named |= error == Errc::damaged;
    };
    const Operation after[] = {
        row.front(),
        {.kind = OperationKind::sync},
        {.kind = OperationKind::read, .path = "@a", .offset = 0, .length = 64 << 10},
        {.kind = OperationKind::write, .path = "@b", .length = 4096, .dsync = true},
    };
    for (const Operation& operation : after) {
      if (trial.what.empty()) trial.what = world.run(operation);
      note();
    }
    if (std::string problem = world.settle(); trial.what.empty()) trial.what = problem;
    world.kill();
    device.stop_recording();
    const SimRecord record = device.record();
    const std::uint64_t last = device.now();
    // Recovery runs into it, too.
    bool read_wrong = false;
    if (trial.what.empty()) {
      if (world.open().empty()) {
        FoundVolume found;
        CrashFacts facts;
        facts.moment = last;
        if (const std::string problem = read_volume(world.issuer(), *world.volume(), &found);
            !problem.empty()) {
          said = true;
        } else {
          read_wrong = !judge(world.history(), facts, found).empty();
        }
        world.kill();
      } else {
        said = true;
      }
    }
    world.remove_deadline();
    trial.hits = device.faults().front().hits;
    device.clear_faults();
    world.expect_faults(false);
    device.rollback();
    if (!trial.what.empty()) {
      trial.outcome = silent;
      return trial;
    }
    trial.outcome = named ? detected : said ? reported : tolerated;
    if (read_wrong && !said) {
      trial.outcome = silent;
      trial.what = "what is read after opening is wrong";
    }
    look(stage, record, last, trial);
    return trial;
  }

  // Healed, and after a power cut that left as little, or as much, as it could.
  void look(MatrixStage& stage, const SimRecord& record, std::uint64_t last, Trial& trial) {
    CrashWindows windows(stage.world.device(), record);
    windows.go_to(last);
    CrashImage all = windows.whole_image();
    CrashImage none = all;
    none.survivors.clear();
    for (const CrashImage* image : {&none, &all}) {
      windows.make(*image);
      CrashFacts facts;
      facts.moment = last;
      const std::string problem = stage.verifier.verify(stage.world.history(), facts, 0);
      stage.world.device().rollback();
      if (problem.empty()) continue;
      trial.what = problem;
      trial.outcome =
          problem.starts_with("open: ") || problem.starts_with("check: ") ? detected : silent;
    }
  }

  // A device that breaks the seam's contract may stop the program: that one, not this.
  Trial in_a_child(MatrixStage& stage, const FaultRule& rule, const Operations& row) {
    constexpr unsigned seconds_max = 20;
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) return {.outcome = silent, .hits = 1, .what = "no process for it"};
    if (pid == 0) {
      std::signal(SIGALRM, SIG_DFL);
      ::alarm(seconds_max);
      static_cast<void>(std::freopen("/dev/null", "w", stderr));
      const Trial trial = attempt(stage, rule, row);
      ::_exit(trial.hits == 0 ? 1 : trial.outcome == tolerated ? 0 : 2);
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0) {
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
      return {.outcome = caught, .hits = 1, .what = {}};
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1) return {};
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
      return {.outcome = tolerated, .hits = 1, .what = {}};
    return {.outcome = silent,
            .hits = 1,
            .what = WIFSIGNALED(status) ? fmt::format("it died of signal {}", WTERMSIG(status))
                                        : "it went on with something wrong"};
  }

  const FaultMatrixOptions options_;
  std::vector<std::unique_ptr<MatrixStage>> stages_;
  FaultMatrixReport report_;
};

}  // namespace

FaultMatrixReport run_fault_matrix(const FaultMatrixOptions& options) {
  prepare_process();
  return Matrix(options).run();
}

}  // namespace handback::sim
