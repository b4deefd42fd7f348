// Random runs: many lives of one volume, each ended by a power cut, a kill or a close.
#include <fmt/format.h>
#include <handback/simulation.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "sim/plan.h"
#include "sim/sim_random.h"
#include "sim/verifier.h"
#include "sim/world.h"

namespace handback::sim {
namespace {

using Clock = std::chrono::steady_clock;

// One run of a plan.
class Run {
 public:
  Run(const RunPlan& plan, SwarmReport& report, const std::function<void(std::string_view)>& tell)
      : plan_(plan),
        report_(report),
        tell_(tell),
        world_(plan.device),
        verifier_(world_.device(), world_.issuer(), seen_) {
    verifier_.use_every(64);
  }

  // Empty, or what was wrong.
  std::string run() {
    SimDevice& device = world_.device();
    fill_with_garbage(device, 2U << 20);
    device.set_instant(true);
    std::string problem = world_.format(plan_.data_checksums);
    device.set_instant(false);
    if (problem.empty()) world_.set_history(History());
    for (const LifePlan& life : plan_.lives) {
      if (!problem.empty()) break;
      problem = live(life);
    }
    const VerifierCounts& counts = verifier_.counts();
    report_.states += counts.states;
    report_.nested += counts.nested;
    report_.distinct += seen_.count();
    report_.ios += device.counts().reads + device.counts().writes + device.counts().flushes;
    report_.simulated_ms += world_.environment().monotonic_ns() / 1'000'000;
    digest_ = mix(digest_, device.digest());
    return problem;
  }

  [[nodiscard]] std::uint64_t digest() const noexcept { return digest_; }

 private:
  void say(const std::string& what) const {
    if (tell_) tell_(what);
  }

  std::string live(const LifePlan& life) {
    ++report_.lives;
    SimDevice& device = world_.device();
    device.mark();
    std::uint64_t stopped = 0;
    std::string problem = run_operations(life, &stopped);
    const SimRecord record = device.record();
    device.rollback();
    if (problem.empty()) problem = cut(life, record, stopped);
    return problem;
  }

  std::string run_operations(const LifePlan& life, std::uint64_t* stopped) {
    SimDevice& device = world_.device();
    device.start_recording();
    std::string problem = world_.open({.commit_interval_ms = plan_.commit_interval_ms});
    if (!problem.empty()) {
      device.stop_recording();
      return problem;
    }
    for (const FaultRule& rule : life.faults)
      device.add_fault(rule);
    world_.expect_faults(!life.faults.empty());
    for (const Operation& operation : life.operations) {
      ++report_.operations;
      if (tell_) say("  " + to_string(operation));
      problem = world_.run(operation);
      if (!problem.empty()) break;
    }
    if (life.end == LifeEnd::close && world_.volume() != nullptr && problem.empty())
      problem = world_.close();
    *stopped = device.now();
    // What is in flight ends, as it would have without the power cut.
    std::string unsettled = world_.settle();
    world_.kill();
    device.stop_recording();
    for (const FaultRule& rule : device.faults())
      report_.faults += rule.hits;
    device.clear_faults();
    world_.expect_faults(false);
    return problem.empty() ? unsettled : problem;
  }

  CrashFacts facts_of(const CrashImage& image, std::uint64_t promises) const {
    CrashFacts facts;
    facts.moment = image.moment;
    facts.image = mix(image.hash, states_begun_);
    facts.promises = promises;
    facts.torn = image.torn;
    facts.logical_block_bytes = plan_.device.logical_block_bytes;
    return facts;
  }

  std::string cut(const LifePlan& life, const SimRecord& record, std::uint64_t stopped) {
    SimRandom random(life.seed);
    std::vector<std::uint64_t> moments;
    for (unsigned i = 0; i < life.looks && !record.crash_moments.empty(); ++i)
      moments.push_back(record.crash_moments[random.below(record.crash_moments.size())]);
    const bool somewhere = life.end == LifeEnd::power_cut && random.one_in(3);
    const std::uint64_t last =
        somewhere && !moments.empty() ? moments[random.below(moments.size())] : stopped;
    std::sort(moments.begin(), moments.end());
    std::string problem;
    FoundVolume found;
    {
      CrashWindows windows(world_.device(), record);
      bool stays = false;
      moments.push_back(last);
      std::sort(moments.begin(), moments.end());
      for (const std::uint64_t moment : moments) {
        windows.go_to(moment);
        for (unsigned i = 0; i < 2 && problem.empty(); ++i)
          problem = look(windows, record, random, false, nullptr);
        if (problem.empty() && moment == last && !stays) {
          stays = true;
          problem = look(windows, record, random, life.end != LifeEnd::power_cut, &found);
        }
        if (!problem.empty()) return problem;
      }
    }
    digest_ = mix(digest_, found.digest());
    world_.set_history(history_from(found, world_.history().last_write_id()));
    return {};
  }

  // One image of this moment. With `stays`: it is what the volume lives on with.
  std::string look(CrashWindows& windows, const SimRecord& record, SimRandom& random, bool whole,
                   FoundVolume* stays) {
    CrashImage image = whole ? windows.whole_image() : windows.random_image(random);
    ++states_begun_;
    windows.make(image);
    CrashFacts facts =
        facts_of(image, mix(world_.history().digest_at(image.moment, record.begun), report_.lives));
    static_cast<void>(seen_.claim(facts));
    const std::string problem = verifier_.verify(world_.history(), facts, 1);
    world_.device().rollback();
    digest_ = mix(digest_, verifier_.found().digest());
    if (!problem.empty()) return to_string(image, record) + "\n  " + problem;
    if (stays != nullptr) {
      *stays = verifier_.found();
      windows.end_with(image);
    }
    return {};
  }

  const RunPlan& plan_;
  SwarmReport& report_;
  const std::function<void(std::string_view)>& tell_;
  World world_;
  SeenStates seen_;
  Verifier verifier_;
  std::uint64_t digest_ = 0;
  std::uint64_t states_begun_ = 0;
};

std::string run_plan(const RunPlan& plan, SwarmReport& report, std::uint64_t* digest,
                     const std::function<void(std::string_view)>& tell) {
  Run run(plan, report, tell);
  std::string problem = run.run();
  *digest = run.digest();
  return problem;
}

// Leaves out whatever the run still fails without: whole lives, halves of their operations, single
// ones, and faults.
class Shrinker {
 public:
  Shrinker(RunPlan plan, std::string problem)
      : plan_(std::move(plan)), problem_(std::move(problem)) {}

  std::string run() {
    while (plan_.lives.size() > 1 && without_life(plan_.lives.size() - 1)) {
    }
    for (std::size_t i = plan_.lives.size() - 1; i-- > 0;)
      without_life(i);
    for (LifePlan& life : plan_.lives) {
      for (std::size_t chunk = std::max<std::size_t>(1, life.operations.size() / 2); chunk != 0;
           chunk /= 2) {
        for (std::size_t at = 0; at + chunk <= life.operations.size();) {
          if (!without(life, at, chunk)) at += chunk;
        }
      }
      if (!life.faults.empty()) {
        std::vector<FaultRule> faults = std::exchange(life.faults, {});
        if (!fails()) life.faults = std::move(faults);
      }
      for (Operation& operation : life.operations) {
        if (!operation.in_flight) continue;
        operation.in_flight = false;
        if (!fails()) operation.in_flight = true;
      }
    }
    return to_string(plan_) + "\n  " + problem_;
  }

 private:
  bool fails() {
    if (tries_left_ == 0) return false;
    --tries_left_;
    SwarmReport report;
    std::uint64_t digest = 0;
    std::string problem = run_plan(plan_, report, &digest, nullptr);
    if (problem.empty()) return false;
    problem_ = std::move(problem);
    return true;
  }

  bool without_life(std::size_t index) {
    const RunPlan before = plan_;
    plan_.lives.erase(plan_.lives.begin() + static_cast<std::ptrdiff_t>(index));
    if (fails()) return true;
    plan_ = before;
    return false;
  }

  bool without(LifePlan& life, std::size_t at, std::size_t count) {
    const std::vector<Operation> before = life.operations;
    const auto first = life.operations.begin() + static_cast<std::ptrdiff_t>(at);
    life.operations.erase(first, first + static_cast<std::ptrdiff_t>(count));
    if (fails()) return true;
    life.operations = before;
    return false;
  }

  RunPlan plan_;
  std::string problem_;
  unsigned tries_left_ = 2000;
};

}  // namespace

SwarmReport run_swarm(const SwarmOptions& options) {
  prepare_process();
  const Clock::time_point start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  SwarmReport report;
  for (std::uint64_t i = options.share; i < options.seeds; i += options.shares) {
    if (options.seconds_max > 0 && seconds() >= options.seconds_max) break;
    const std::uint64_t seed = options.first_seed + i;
    const RunPlan plan = plan_from(seed);
    std::uint64_t digest = 0;
    std::string problem = run_plan(plan, report, &digest, options.tell);
    ++report.seeds;
    // A sum, so that it does not depend on how the seeds were shared out.
    report.digest += mix(seed, digest);
    if (problem.empty()) continue;
    if (options.shrink) {
      problem = Shrinker(plan, std::move(problem)).run();
    } else {
      problem = to_string(plan) + "\n  " + problem;
    }
    report.violations.push_back({fmt::format("{}", seed), std::move(problem)});
    if (report.violations.size() >= options.violations_max) break;
  }
  report.seconds = seconds();
  return report;
}

}  // namespace handback::sim
