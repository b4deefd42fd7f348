#include "sim/plan.h"

#include <fmt/format.h>

#include <array>
#include <numeric>

#include "sim/sim_random.h"

namespace handback::sim {
namespace {

constexpr std::array files = {"/f0", "/f1", "/f2", "/d0/f0", "/d0/f1", "/d1/f0"};
constexpr std::array directories = {"/d0", "/d1", "/d0/d2"};

class Planner {
 public:
  explicit Planner(std::uint64_t seed) : random_(mix(seed, 0x5157)) { plan_.seed = seed; }

  RunPlan run() {
    const Cache cache = static_cast<Cache>(random_.below(cache_count));
    block_ = random_.one_in(3) ? 512 : 4096;
    plan_.device = device_options(cache, block_, (4 + random_.below(5)) << 20, random_());
    // From all at once to far apart.
    plan_.device.delay_ns_min = random_.one_in(2) ? 0 : 10'000;
    plan_.device.delay_ns_max = plan_.device.delay_ns_min + (std::uint64_t{1} << random_.below(26));
    if (random_.one_in(4)) plan_.device.transfer_bytes_max = 4096U << random_.below(4);
    plan_.commit_interval_ms = random_.one_in(3) ? 1 : 500;
    // Of its own, so that the other runs are what they were.
    plan_.data_checksums = SimRandom(mix(plan_.seed, 0xc5)).one_in(3);
    // A swarm: each run knows only some of the operations, and prefers some of those.
    for (unsigned& weight : weights_)
      weight = random_.one_in(3) ? 0 : 1 + static_cast<unsigned>(random_.below(8));
    weights_[static_cast<std::size_t>(OperationKind::create)] |= 2;
    weights_[static_cast<std::size_t>(OperationKind::write)] |= 2;
    flying_one_in_ = 1 + random_.below(4);
    const std::uint64_t lives = 1 + random_.below(4);
    for (std::uint64_t i = 0; i < lives; ++i)
      plan_.lives.push_back(life(i == 0));
    return plan_;
  }

 private:
  const char* file() { return files[random_.below(files.size())]; }
  const char* directory() { return directories[random_.below(directories.size())]; }

  LifePlan life(bool first) {
    LifePlan life;
    life.seed = random_();
    if (first) {
      for (const char* path : {"/d0", "/d1"})
        life.operations.push_back({.kind = OperationKind::mkdir, .path = path});
      for (const char* path : {"/f0", "/f1", "/d0/f0"})
        life.operations.push_back({.kind = OperationKind::create, .path = path});
    }
    const std::uint64_t count = 5 + random_.below(40);
    for (std::uint64_t i = 0; i < count; ++i)
      life.operations.push_back(operation());
    life.end = random_.one_in(5)   ? LifeEnd::close
               : random_.one_in(4) ? LifeEnd::kill
                                   : LifeEnd::power_cut;
    if (random_.one_in(4)) add_faults(life);
    return life;
  }

  void add_faults(LifePlan& life) {
    constexpr std::array kinds = {FaultKind::io_error,        FaultKind::io_error,
                                  FaultKind::io_error_sticky, FaultKind::failed_flush,
                                  FaultKind::short_transfer,  FaultKind::again,
                                  FaultKind::no_space,        FaultKind::no_memory,
                                  FaultKind::latent_error,    FaultKind::gone};
    FaultRule rule;
    rule.kind = kinds[random_.below(kinds.size())];
    rule.sticky = rule.kind == FaultKind::io_error_sticky;
    if (rule.kind == FaultKind::failed_flush) {
      rule.op = BioOp::flush;
    } else if (rule.kind == FaultKind::latent_error) {
      rule.op = BioOp::read;
    } else if (!random_.one_in(3)) {
      rule.op = random_.one_in(3) ? BioOp::flush : BioOp::write;
    }
    rule.nth = 1 + random_.below(rule.op == BioOp::flush ? 8 : 30);
    life.faults.push_back(rule);
  }

  OperationKind kind() {
    const unsigned sum = std::accumulate(weights_.begin(), weights_.end(), 0U);
    std::uint64_t left = random_.below(sum);
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      if (left < weights_[i]) return static_cast<OperationKind>(i);
      left -= weights_[i];
    }
    return OperationKind::sync;
  }

  Operation operation() {
    Operation operation;
    operation.kind = kind();
    operation.path = file();
    const std::uint64_t unit = block_;
    switch (operation.kind) {
      case OperationKind::write:
      case OperationKind::append:
        operation.offset = random_.below(16 * 4096 / unit) * unit;
        operation.length =
            (1 + random_.below(random_.one_in(8) ? 24 : 3)) * (random_.one_in(2) ? unit : 4096);
        operation.dsync = random_.one_in(2);
        operation.in_flight = random_.one_in(flying_one_in_);
        break;
      case OperationKind::truncate:
        operation.length = random_.below(20) * (random_.one_in(4) ? 512 : 4096);
        break;
      case OperationKind::preallocate:
        operation.offset = random_.below(24) * 4096;
        operation.length = (1 + random_.below(random_.one_in(8) ? 900 : 12)) * 4096;
        break;
      case OperationKind::read:
        operation.offset = random_.below(8) * 4096;
        operation.length = (1 + random_.below(16)) * 4096;
        break;
      case OperationKind::mkdir:
      case OperationKind::rmdir:
        operation.path = directory();
        break;
      case OperationKind::sync_directory:
        operation.path = random_.one_in(2) ? "/" : directory();
        break;
      case OperationKind::rename:
        if (random_.one_in(4)) {
          operation.path = directory();
          operation.path_to = directory();
        } else {
          operation.path_to = file();
        }
        break;
      case OperationKind::link:
        operation.path_to = file();
        break;
      default:
        break;
    }
    return operation;
  }

  SimRandom random_;
  RunPlan plan_;
  std::uint32_t block_ = 4096;
  std::uint64_t flying_one_in_ = 1;
  std::array<unsigned, operation_kind_count> weights_{};
};

}  // namespace

RunPlan plan_from(std::uint64_t seed) {
  return Planner(seed).run();
}

std::string to_string(const RunPlan& plan) {
  std::string text = fmt::format(
      "seed {}: {} MiB, blocks of {}, {}{}, commits after {} ms", plan.seed,
      plan.device.size_bytes >> 20, plan.device.logical_block_bytes,
      plan.device.volatile_cache ? (plan.device.fua ? "cache with FUA" : "cache") : "write-through",
      plan.data_checksums ? ", checksums of data" : "", plan.commit_interval_ms);
  for (const LifePlan& life : plan.lives) {
    text += "\n life:";
    for (const FaultRule& rule : life.faults)
      text += fmt::format("\n  fault {} at bio {}{}", to_string(rule.kind), rule.nth,
                          !rule.op                   ? ""
                          : *rule.op == BioOp::flush ? " of the flushes"
                          : *rule.op == BioOp::write ? " of the writes"
                                                     : " of the reads");
    for (const Operation& operation : life.operations)
      text += "\n  " + to_string(operation);
    constexpr std::array ends = {"power cut", "kill", "close"};
    text += fmt::format("\n  {}", ends[static_cast<std::size_t>(life.end)]);
  }
  return text;
}

}  // namespace handback::sim
