// Power cuts at every moment of every short sequence of operations.
#include <fmt/format.h>
#include <handback/simulation.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

#include "sim/crash_window.h"
#include "sim/operation.h"
#include "sim/scenario.h"
#include "sim/sim_random.h"
#include "sim/verifier.h"
#include "sim/world.h"

namespace handback::sim {
namespace {

using Clock = std::chrono::steady_clock;

struct Configuration {
  Cache cache;
  std::uint32_t block_bytes;
  bool data_checksums = false;
};
constexpr Configuration configurations[] = {
    {Cache::write_through, 4096}, {Cache::fua, 4096},
    {Cache::flush_only, 4096},    {Cache::write_through, 512},
    {Cache::flush_only, 512},     {Cache::write_through, 4096, true},
    {Cache::fua, 4096, true},     {Cache::flush_only, 512, true},
};
// One after the other, or the first without waiting for its end.
constexpr const char* mode_names[] = {"apart", "together"};

struct Sequence {
  unsigned configuration = 0;
  unsigned mode = 0;
  std::vector<unsigned> operations;
};

std::string to_string(const Sequence& sequence) {
  const Configuration& on = configurations[sequence.configuration];
  std::string text = fmt::format("{}/{}{}/{}/", to_string(on.cache), on.block_bytes,
                                 on.data_checksums ? "+checksums" : "", mode_names[sequence.mode]);
  for (std::size_t i = 0; i < sequence.operations.size(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ",", sequence.operations[i]);
  return text;
}

// A volume in its first state, on which sequence after sequence is run and undone.
class Stage {
 public:
  Stage(const Configuration& on, SeenStates& seen)
      : world(device_options(on.cache, on.block_bytes, 4U << 20, 1)),
        verifier(world.device(), world.issuer(), seen) {
    SimDevice& device = world.device();
    fill_with_garbage(device, 4U << 20);
    device.set_instant(true);
    problem = world.format(on.data_checksums);
    if (problem.empty()) problem = world.open();
    if (problem.empty()) problem = make_tree(world);
    const std::uint32_t last_write_id = world.history().last_write_id();
    // Closed, so that all checksums are known to begin with.
    if (problem.empty() && on.data_checksums) problem = world.close();
    world.kill();
    if (problem.empty()) problem = world.open();
    FoundVolume found;
    if (problem.empty()) problem = read_volume(world.issuer(), *world.volume(), &found);
    world.kill();
    beginning = history_from(found, last_write_id);
    device.set_instant(false);
    begin_ns = world.environment().monotonic_ns();
  }

  World world;
  Verifier verifier;
  History beginning;
  std::uint64_t begin_ns = 0;
  std::string problem;
};

class Explorer {
 public:
  explicit Explorer(const CrashOptions& options) : options_(options), start_(Clock::now()) {}

  CrashReport run() {
    for (unsigned i = 0; i < std::size(configurations); ++i) {
      stages_.push_back(std::make_unique<Stage>(configurations[i], seen_));
      if (!stages_.back()->problem.empty()) {
        report_.violations.push_back({"setting up", stages_.back()->problem});
        return std::move(report_);
      }
    }
    std::uint64_t index = 0;
    each_sequence([&](const Sequence& sequence) {
      if (!options_.only.empty() && to_string(sequence) != options_.only) return;
      if (options_.only.empty() && index++ % options_.shares != options_.share) return;
      if (enough()) {
        ++report_.sequences_left;
        return;
      }
      try_sequence(sequence);
    });
    for (const auto& stage : stages_) {
      const VerifierCounts& counts = stage->verifier.counts();
      report_.states += counts.states;
      report_.tried += counts.tried;
      report_.nested += counts.nested;
      report_.deepest = std::max(report_.deepest, counts.deepest);
      report_.used += counts.used;
      report_.recoveries_that_wrote += counts.recoveries_that_wrote;
    }
    report_.distinct = seen_.count();
    report_.seconds = seconds();
    return std::move(report_);
  }

 private:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  std::uint64_t states() const {
    std::uint64_t sum = 0;
    for (const auto& stage : stages_)
      sum += stage->verifier.counts().states;
    return sum;
  }

  bool enough() const {
    return report_.violations.size() >= options_.violations_max ||
           (options_.states_max != 0 && states() >= options_.states_max) ||
           (options_.seconds_max > 0 && seconds() >= options_.seconds_max);
  }

  // Pairs first, then triples; each in an order of their own, so that a limit cuts all of them
  // alike.
  template <typename Visit>
  void each_sequence(Visit visit) const {
    const auto count = static_cast<unsigned>(concrete_operations().size());
    SimRandom random(options_.seed);
    std::vector<Sequence> sequences;
    const auto visit_all = [&] {
      for (std::size_t i = sequences.size(); i > 1; --i)
        std::swap(sequences[i - 1], sequences[random.below(i)]);
      for (const Sequence& sequence : sequences)
        visit(sequence);
      sequences.clear();
    };
    for (unsigned first = 0; first < count; ++first) {
      for (unsigned second = 0; second < count; ++second) {
        for (unsigned mode = 0; mode < 2; ++mode) {
          if (mode == 1 && !may_fly(first)) continue;
          for (unsigned on = 0; on < std::size(configurations); ++on)
            sequences.push_back({on, mode, {first, second}});
        }
      }
    }
    visit_all();
    if (options_.triples_one_in == 0 && options_.only.empty()) return;
    for (unsigned first = 0; first < count; ++first) {
      for (unsigned second = 0; second < count; ++second) {
        const unsigned together = may_fly(first) || may_fly(second) ? 1 : 0;
        for (unsigned third = 0; third < count; ++third) {
          for (unsigned on = 0; on < std::size(configurations); ++on) {
            if (!options_.only.empty() || random.one_in(options_.triples_one_in))
              sequences.push_back({on, together, {first, second, third}});
          }
        }
      }
    }
    visit_all();
  }

  static bool may_fly(unsigned operation) {
    const OperationKind kind = concrete_operations()[operation].kind;
    return kind == OperationKind::write || kind == OperationKind::append;
  }

  std::string text_of(const Sequence& sequence) const {
    std::string text;
    for (std::size_t i = 0; i < sequence.operations.size(); ++i)
      text += "\n  " + to_string(operation_of(sequence, i));
    return text;
  }

  static Operation operation_of(const Sequence& sequence, std::size_t i) {
    Operation operation = concrete_operations()[sequence.operations[i]];
    operation.in_flight = sequence.mode == 1 && may_fly(sequence.operations[i]);
    return operation;
  }

  void violated(const Sequence& sequence, std::string problem) {
    report_.violations.push_back(
        {to_string(sequence), "operations:" + text_of(sequence) + "\n  " + std::move(problem)});
  }

  void try_sequence(const Sequence& sequence) {
    ++report_.sequences;
    Stage& stage = *stages_[sequence.configuration];
    SimDevice& device = stage.world.device();
    stage.world.environment().set(stage.begin_ns, 7);
    device.set_seed(options_.seed);
    device.mark();
    std::string problem = run_operations(stage, sequence);
    const SimRecord record = device.record();
    device.rollback();
    if (!problem.empty()) {
      violated(sequence, std::move(problem));
      return;
    }
    cut_everywhere(stage, sequence, record);
  }

  std::string run_operations(Stage& stage, const Sequence& sequence) {
    World& world = stage.world;
    world.set_history(stage.beginning);
    if (std::string problem = world.open(); !problem.empty()) return problem;
    world.name_slots();
    world.device().start_recording();
    std::string problem;
    for (std::size_t i = 0; i < sequence.operations.size() && problem.empty(); ++i) {
      const Operation operation = operation_of(sequence, i);
      // A write to a new name makes the file.
      if (may_fly(sequence.operations[i]) && operation.path.starts_with('/') &&
          world.history().find(operation.path) == nullptr)
        problem = world.run({.kind = OperationKind::create, .path = operation.path});
      if (problem.empty() && operation.kind == OperationKind::reopen) problem = world.settle();
      if (problem.empty()) problem = world.run(operation);
    }
    std::string unsettled = world.settle();
    world.device().stop_recording();
    world.kill();
    return problem.empty() ? unsettled : problem;
  }

  void cut_everywhere(Stage& stage, const Sequence& sequence, const SimRecord& record) {
    const History& history = stage.world.history();
    CrashWindows windows(stage.world.device(), record);
    std::optional<CrashImage> smallest;
    std::string smallest_problem;
    std::uint64_t tries_left = 64;  // For a smaller example, once there is one.
    std::vector<std::uint64_t> moments{record.begun};
    moments.insert(moments.end(), record.crash_moments.begin(), record.crash_moments.end());
    for (const std::uint64_t moment : moments) {
      windows.go_to(moment);
      ++report_.windows;
      const std::uint64_t promises =
          mix(history.digest_at(moment, record.begun), sequence.configuration);
      CrashRule rule;
      rule.seed = options_.seed;
      const bool go_on = windows.each(
          rule,
          [&](const CrashImage& image) {
            ++report_.tried;
            report_.open_writes_max =
                std::max<std::uint64_t>(report_.open_writes_max, image.open_writes);
            return seen_.claim(facts_of(stage, image, promises));
          },
          [&](const CrashImage& image) {
            std::string problem = verify(stage, history, facts_of(stage, image, promises));
            if (problem.empty()) return smallest ? --tries_left != 0 : true;
            if (!smallest || image.damage() < smallest->damage()) {
              smallest = image;
              smallest_problem = std::move(problem);
            }
            return --tries_left != 0;
          });
      if (!go_on || (smallest && tries_left == 0)) break;
    }
    if (smallest) violated(sequence, to_string(*smallest, record) + "\n  " + smallest_problem);
  }

  static CrashFacts facts_of(Stage& stage, const CrashImage& image, std::uint64_t promises) {
    CrashFacts facts;
    facts.moment = image.moment;
    facts.image = image.hash;
    facts.promises = promises;
    facts.torn = image.torn;
    facts.torn_inside_sector = image.torn_inside_sector;
    facts.torn_inside_block = image.torn_inside_block;
    const auto by_submission = [](const Survival& a, const Survival& b) {
      return a.write < b.write;
    };
    facts.process_only =
        !image.torn && image.survivors.size() == image.open_writes &&
        std::is_sorted(image.survivors.begin(), image.survivors.end(), by_submission);
    facts.logical_block_bytes = stage.world.device().geometry().logical_block_bytes;
    return facts;
  }

  std::string verify(Stage& stage, const History& history, const CrashFacts& facts) {
    const bool nested = options_.nested_one_in != 0 && facts.image % options_.nested_one_in == 0;
    return stage.verifier.verify(history, facts, nested ? 3 : 0);
  }

  const CrashOptions options_;
  const Clock::time_point start_;
  std::vector<std::unique_ptr<Stage>> stages_;
  SeenStates seen_;
  CrashReport report_;
};

}  // namespace

CrashReport explore_crashes(const CrashOptions& options) {
  prepare_process();
  return Explorer(options).run();
}

}  // namespace handback::sim
