// Goal: every kind of fault under every kind of operation ends in an outcome that is allowed for
// it. HB_FAULT_NTH sets how many bios of each operation are hit, one in each run.
#include <gtest/gtest.h>
#include <handback/sim.h>
#include <handback/simulation.h>

#include <map>
#include <set>

#include "base/base_test_support.h"
#include "sim/operation.h"

namespace handback::sim {
namespace {

class FaultMatrix : public ::testing::Test {
 protected:
  static const FaultMatrixReport& report() {
    static const FaultMatrixReport once = [] {
      FaultMatrixOptions options;
      options.nth_max = testing::number_from_environment("HB_FAULT_NTH", 3);
      return run_fault_matrix(options);
    }();
    return once;
  }
};

TEST_F(FaultMatrix, HasOnlyOutcomesThatAreAllowed) {
  for (const Violation& violation : report().violations)
    ADD_FAILURE() << violation.where << ": " << violation.problem;
}

TEST_F(FaultMatrix, IsFull) {
  std::map<std::string, std::set<std::string>> reached;
  for (const FaultCell& cell : report().cells) {
    EXPECT_GT(cell.hits, 0U) << cell.fault << " / " << cell.operation;
    reached[cell.fault].insert(cell.operation.substr(0, cell.operation.find(' ')));
  }
  for (unsigned kind = 0; kind < fault_kind_count; ++kind) {
    const std::string fault(to_string(static_cast<FaultKind>(kind)));
    for (unsigned operation = 0; operation < operation_kind_count; ++operation) {
      const std::string name = to_string(static_cast<OperationKind>(operation));
      EXPECT_TRUE(reached[fault].contains(name)) << fault << " / " << name;
    }
  }
}

// What a device says of a failure is never swallowed.
TEST_F(FaultMatrix, ReportsWhateverTheDeviceReports) {
  const std::set<std::string> said = {"io_error_sticky", "failed_flush", "gone", "no_answer",
                                      "late_answer"};
  for (const FaultCell& cell : report().cells) {
    if (!said.contains(cell.fault)) continue;
    EXPECT_EQ(cell.reported, cell.runs) << cell.fault << " / " << cell.operation;
  }
}

}  // namespace
}  // namespace handback::sim
