// Goal: no byte of a file is ever stale, lost or somebody else's, whatever is done to it in which
// way, and the page cache keeps within its bound. Method: random operations, held against a copy in
// memory (tools/exerciser). All tests together do about 2,000,000 operations.
// HB_EXERCISER_OPERATIONS sets how many each test does, HB_SEED the first seed; handback-exerciser
// does the same for as long as wanted.
#include <gtest/gtest.h>

#include <cstdlib>

#include "exerciser/run.h"

namespace exerciser::testing {
namespace {

// Sanitizers make it slow, and ThreadSanitizer has little to find where there is one thread.
std::uint64_t fraction_of(const DeviceKind& kind) {
#if defined(__SANITIZE_THREAD__)
  return kind.two_threads ? 20 : 200;
#elif defined(__SANITIZE_ADDRESS__)
  return kind.two_threads ? 20 : 25;
#else
  static_cast<void>(kind);
  return 1;
#endif
}

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

// `piece`: of several tests on the same device, each has seeds of its own.
RunReport exercise(const char* device, std::uint64_t operations, std::uint64_t piece = 0) {
  const DeviceKind* kind = find_device_kind(device);
  operations = number_from("HB_EXERCISER_OPERATIONS", operations / fraction_of(*kind));
  const std::uint64_t seed = number_from("HB_SEED", 1 + 1'000'000 * piece);
  tell_on_signals();
  RunReport report = run_exerciser({.device = kind, .operations = operations, .seed = seed});
  EXPECT_EQ(report.violation, "");
  return report;
}

void skip_if_missing(const RunReport& report) {
  if (!report.skipped.empty()) GTEST_SKIP() << report.skipped;
}

// Whether what the run is for was reached, where it was long enough.
bool long_enough(const RunReport& report) {
  return report.counters.lanes.operations >= 30'000;
}

class Exerciser : public ::testing::TestWithParam<int> {};

TEST_P(Exerciser, FindsEveryByteInMemory) {
  const RunReport report = exercise("memory", 100'000, GetParam());
  if (!long_enough(report)) return;
  EXPECT_GT(report.counters.evictions, 500U) << "the file fits into the cache";
  EXPECT_GT(report.counters.lanes.ambiguous, 200U) << "hardly any requests overlap";
  EXPECT_GT(report.counters.kills, 0U);
}

TEST_P(Exerciser, FindsEveryByteOnBlocksOf512) {
  static_cast<void>(exercise("memory-512", 75'000, GetParam()));
}

TEST_P(Exerciser, FindsEveryByteBehindAVolatileCache) {
  static_cast<void>(exercise("cache", 50'000, GetParam()));
}

TEST_P(Exerciser, FindsEveryByteWithChecksumsOfData) {
  static_cast<void>(exercise("checksums", 50'000, GetParam()));
}

TEST_P(Exerciser, FindsEveryByteOfASimulatedDevice) {
  static_cast<void>(exercise("sim", 30'000, GetParam()));
}

TEST_P(Exerciser, FindsEveryByteThatADeviceWithFaultsLeft) {
  const RunReport report = exercise("sim-faults", 30'000, GetParam());
  if (!long_enough(report)) return;
  EXPECT_GT(report.counters.faults, 20U);
  EXPECT_GT(report.counters.told, 0U) << "no write-back has failed";
}

TEST_P(Exerciser, FindsWhatWasDurableAfterAPowerCut) {
  const RunReport report = exercise("sim-power", 30'000, GetParam());
  if (!long_enough(report)) return;
  EXPECT_GT(report.counters.power_cuts, 40U);
}

TEST_P(Exerciser, FindsEveryByteOfTwoThreads) {
  static_cast<void>(exercise("two-threads", 50'000, GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Pieces, Exerciser, ::testing::Range(0, 4));

TEST(ExerciserOnce, FindsEveryByteOnBlocksOf512BehindAVolatileCache) {
  static_cast<void>(exercise("cache-512", 50'000));
}

TEST(ExerciserOnce, FindsEveryByteOnADeviceWithFua) {
  static_cast<void>(exercise("fua", 50'000));
}

TEST(ExerciserOnce, FindsEveryByteWithChecksumsOfDataOnBlocksOf512) {
  static_cast<void>(exercise("checksums-512", 50'000));
}

TEST(ExerciserOnce, FindsEveryByteOfAHostFileThroughIoUring) {
  skip_if_missing(exercise("io-uring", 40'000));
}

TEST(ExerciserOnce, FindsEveryByteOfAHostFileThroughThreads) {
  skip_if_missing(exercise("threads", 25'000));
}

TEST(ExerciserOnce, FindsEveryByteOfASimulatedDeviceWithBlocksOf512) {
  static_cast<void>(exercise("sim-512", 50'000));
}

TEST(ExerciserOnce, FindsEveryByteThatADeviceWithFaultsAndBlocksOf512Left) {
  static_cast<void>(exercise("sim-faults-512", 60'000));
}

TEST(ExerciserOnce, FindsWhatWasDurableAfterAPowerCutOnADeviceWithFua) {
  static_cast<void>(exercise("sim-power-fua", 60'000));
}

TEST(ExerciserOnce, FindsWhatWasDurableAfterAPowerCutWithChecksumsOfData) {
  static_cast<void>(exercise("sim-checksums", 60'000));
}

TEST(ExerciserOnce, FindsEveryByteOfTwoThreadsBehindAVolatileCache) {
  static_cast<void>(exercise("two-threads-cache", 50'000));
}

TEST(ExerciserOnce, FindsEveryByteOfTwoThreadsWithChecksumsOfData) {
  static_cast<void>(exercise("two-threads-checksums", 50'000));
}

TEST(ExerciserOnce, FindsEveryByteOfTwoThreadsThroughIoUring) {
  skip_if_missing(exercise("two-threads-uring", 40'000));
}

TEST(ExerciserOnce, FindsEveryByteOfTwoThreadsThroughThreads) {
  skip_if_missing(exercise("two-threads-threads", 30'000));
}

}  // namespace
}  // namespace exerciser::testing
