// A request's claims in every schedule: its references, its first error, and the handoff between a
// stage that returns and the continuation that it started.
#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "base/schedule_test_support.h"
#include "dio/first_error.h"
#include "dio/handoff.h"
#include "dio/reference_count.h"

namespace handback::testing {
namespace {

// As DioEngine: the submission and the bios hold references; whoever drops the last one runs a
// stage, which starts a continuation; whoever of stage and continuation comes second goes on, and
// the record is gone.
template <unsigned bios, Faults faults>
struct OneRequest {
  using Explored = ExploredConcurrency<faults>;
  static constexpr unsigned submission = 0;
  static constexpr unsigned continuation = bios + 1;

  struct Record {
    ReferenceCount<Explored> references;
    FirstError<Explored> first_error;
    Handoff<Explored> handoff;
    std::array<Plain<unsigned>, bios> transferred;
    Plain<unsigned> pending_result;
  };

  std::optional<Record> record{std::in_place};
  // Not part of the record, and free of the planted faults: how a thread is made to start.
  ExploredAtomic<bool> submitted{false};
  ExploredAtomic<bool> started{false};
  unsigned completed = 0;
  unsigned went_on = 0;

  OneRequest() {
    name(submitted, "submitted");
    name(started, "started");
    name(record->references, "references");
    name(record->first_error, "first error");
    name(record->handoff, "handoff");
    name(record->transferred, "data");
    name(record->pending_result, "result");
  }

  void run(unsigned thread) {
    if (thread == submission) {
      record->references.set(bios + 1);
      submitted.store(true);
      if (record->references.drop()) complete();
    } else if (thread == continuation) {
      wait_for("start", started);
      record->pending_result = 7;
      if (record->handoff.ended_second()) go_on();
    } else {
      wait_for("submission", submitted);
      const unsigned bio = thread - 1;
      record->transferred[bio] = 1;
      // The last of them fails first in the file.
      record->first_error.record(IoResult::host_failure(static_cast<int>(10 + bio)),
                                 4096 * (bios - thread));
      if (record->references.drop()) complete();
    }
  }

  static void wait_for(const char* what, ExploredAtomic<bool>& flag) {
    sleep_until(what, &flag, [&flag] { return flag.load(); });
    check(flag.load(), "a flag stays set");
  }

  void complete() {
    check(++completed == 1, "one thread drops the last reference");
    for (const auto& of_bio : record->transferred)
      check(of_bio == 1, "who drops the last reference sees all data");
    check(record->first_error.any() && record->first_error.at() == 0,
          "the lowest place that failed counts");
    const int error = record->first_error.error().host_errno();
    check(error >= 10 && error < static_cast<int>(10 + bios), "and an error of one of them");
    record->handoff.begin();
    started.store(true);
    if (record->handoff.returned_second()) go_on();
  }

  void go_on() {
    check(++went_on == 1, "one of the two goes on");
    check(record->pending_result == 7, "who goes on sees the result");
    record.reset();
  }

  void at_end() {
    check(completed == 1, "somebody drops the last reference");
    check(went_on == 1, "one of the two goes on");
  }
};

template <Faults faults = Faults{}>
struct OneBio : OneRequest<1, faults> {
  static constexpr std::array threads{"submission", "bio", "continuation"};
};
template <Faults faults = Faults{}>
struct ThreeBios : OneRequest<3, faults> {
  static constexpr std::array threads{"submission", "bio a", "bio b", "bio c", "continuation"};
};

TEST(DioClaimSchedules, CompleteOnceAndGoOnOnce) {
  expect_holds(explore_all<OneBio<>>(any_preemptions));
  expect_holds(explore_all<ThreeBios<>>(2));
  expect_holds(explore_random<ThreeBios<>>(20'000));
}

TEST(DioClaimSchedules, ShowAHandoffByLoadAndStore) {
  constexpr Faults faults{.exchange_in_two_steps = true};
  expect_finds(explore_all<OneBio<faults>>(any_preemptions), "one of the two goes on");
  expect_finds(explore_first_seeds<ThreeBios<faults>>(20'000), "one of the two goes on");
}

TEST(DioClaimSchedules, ShowAReferenceDroppedByLoadAndStore) {
  constexpr Faults faults{.decrement_in_two_steps = true};
  expect_finds(explore_all<OneBio<faults>>(any_preemptions), "continuation: start");
}

TEST(DioClaimSchedules, ShowClaimsWithoutAcquireOrRelease) {
  constexpr Faults faults{.exchanges_relaxed = true};
  expect_finds(explore_all<OneBio<faults>>(any_preemptions), "data race on ");
}

}  // namespace
}  // namespace handback::testing
