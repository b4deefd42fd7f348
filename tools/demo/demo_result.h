// What the demo found, as a table and as JSON.
#pragma once

#include <handback/volume.h>
#include <cstdint>
#include <string>

#include "common/copy_report.h"
#include "demo/compare.h"
#include "demo/crash.h"

namespace tool {

struct DemoResult {
  std::uint64_t seed = 0;
  std::string tree;
  std::uint64_t volume_bytes = 0;
  std::uint64_t kill_at_bytes = 0;
  ChildReport killed;
  std::uint64_t open_ns = 0;
  handback::RecoveryReport recovery;
  CopyReport completed;
  std::uint64_t completed_by_route[handback::route_count] = {};
  handback::CheckReport check;
  Comparison comparison;
  std::uint64_t read_by_route[handback::route_count] = {};
  std::uint64_t elapsed_ns = 0;

  [[nodiscard]] bool good() const {
    return check.findings.empty() && comparison.mismatches.empty() && completed.failed.empty();
  }
};

void print_demo_table(const DemoResult& result);

// Throws Failure if the file cannot be written.
void write_demo_json(const DemoResult& result, const std::string& path);

}  // namespace tool
