#include "sim/verifier.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/sim_random.h"

namespace handback::sim {

bool SeenStates::claim(const CrashFacts& facts) {
  return states_
      .insert(mix(facts.image, facts.promises) + (facts.torn_inside_sector ? 1 : 0) +
              (facts.process_only ? 2 : 0))
      .second;
}

std::string Verifier::open_and_judge(const History& history, const CrashFacts& facts,
                                     FoundVolume* found, bool* wrote) {
  ++counts_.states;
  const std::uint64_t writes = device_.counts().writes;
  auto volume = Volume::open(issuer_, device_);
  if (!volume) return "open: " + volume.error().message();
  *wrote = device_.counts().writes != writes;
  if (std::string problem = read_volume(issuer_, **volume, found); !problem.empty()) return problem;
  return judge(history, facts, *found);
}

std::string Verifier::check(bool torn, const FoundVolume& found) {
  // With checksums of data, no power cut may leave one that does not fit.
  auto report = check_volume(issuer_, device_, {.data = true});
  if (!report) return "check: " + report.error().message();
  for (const CheckFinding& finding : report->findings) {
    // A root that was cut while it was written is noticed, with all its fields; the other one
    // counts.
    if (torn && finding.structure == "root" && !finding.refuses_open &&
        finding.block == report->findings.front().block)
      continue;
    return fmt::format("check: {} at block {}, {}: {}", finding.structure, finding.block,
                       finding.field, finding.problem);
  }
  if (report->info.free_bytes != found.free_bytes)
    return fmt::format("a second recovery finds {} bytes free, the first found {}",
                       report->info.free_bytes, found.free_bytes);
  return {};
}

std::string Verifier::use() {
  ++counts_.used;
  auto volume = Volume::open(issuer_, device_);
  if (!volume) return "open for use: " + volume.error().message();
  if (auto made = (*volume)->mkdir("/used"); !made) return "use: " + made.error().message();
  {
    auto file = (*volume)->open_file(issuer_, "/used/file", {.create = true});
    if (!file) return "use: " + file.error().message();
    AlignedBuffer buffer(4096);
    Aiocb write;
    write.prepare_write(**file, 0, buffer.span(), KiocbFlags::dsync);
    if (const IoResult result = issuer_.run(write); !result.ok()) return "use: " + describe(result);
  }
  if (auto closed = (*volume)->close(issuer_); !closed) return "close: " + closed.error().message();
  volume->reset();
  auto report = check_volume(issuer_, device_, {.data = true});
  if (!report) return "check after use: " + report.error().message();
  if (!report->findings.empty() || !report->recovery.clean)
    return "after use and close: " +
           (report->findings.empty() ? "not clean" : report->findings.front().problem);
  return {};
}

std::string Verifier::crash_in_recovery(const History& history, const CrashFacts& facts,
                                        const SimRecord& record, unsigned depth,
                                        unsigned depth_max) {
  counts_.deepest = std::max<std::uint64_t>(counts_.deepest, depth);
  std::string problem;
  CrashWindows windows(device_, record);
  for (const std::uint64_t moment : record.crash_moments) {
    windows.go_to(moment);
    CrashFacts deeper = facts;
    deeper.process_only = false;
    const bool go_on = windows.each(
        {},
        [&](const CrashImage& image) {
          ++counts_.tried;
          deeper.image = facts.image + image.hash;
          return seen_.claim(deeper);
        },
        [&](const CrashImage& image) {
          ++counts_.nested;
          const bool deeper_still = depth < depth_max;
          device_.mark();
          if (deeper_still) device_.start_recording();
          FoundVolume found;
          bool wrote = false;
          problem = open_and_judge(history, deeper, &found, &wrote);
          SimRecord next;
          if (deeper_still) {
            device_.stop_recording();
            next = device_.record();
          }
          if (problem.empty()) problem = check(true, found);
          device_.rollback();
          if (problem.empty() && wrote && deeper_still)
            problem = crash_in_recovery(history, deeper, next, depth + 1, depth_max);
          if (problem.empty()) return true;
          problem = fmt::format("in recovery, {}\n  {}", to_string(image, record), problem);
          return false;
        });
    if (!go_on) break;
  }
  return problem;
}

std::string Verifier::verify(const History& history, const CrashFacts& facts,
                             unsigned nested_depth) {
  device_.set_instant(true);
  device_.mark();
  bool wrote = false;
  if (nested_depth != 0) device_.start_recording();
  std::string problem = open_and_judge(history, facts, &found_, &wrote);
  SimRecord record;
  if (nested_depth != 0) {
    device_.stop_recording();
    if (wrote) record = device_.record();
  }
  if (wrote) ++counts_.recoveries_that_wrote;
  if (problem.empty()) problem = check(facts.torn, found_);
  if (problem.empty() && wrote) {
    // Once more, on what the first recovery left.
    const std::uint64_t writes = device_.counts().writes;
    bool again = false;
    problem = open_and_judge(history, facts, &again_, &again);
    --counts_.states;
    if (problem.empty() && again_.digest() != found_.digest())
      problem = "a second recovery finds another state than the first";
    if (problem.empty() && device_.counts().writes != writes)
      problem = "a second recovery writes again";
  }
  if (problem.empty() && use_every_ != 0 && counts_.states % use_every_ == 0) problem = use();
  device_.rollback();
  if (problem.empty() && wrote && nested_depth != 0)
    problem = crash_in_recovery(history, facts, record, 1, nested_depth);
  device_.set_instant(false);
  return problem;
}

}  // namespace handback::sim
