// Answers of foreign threads that race the deadline. HB_RACE_ROUNDS=N sets the rounds.
#include <handback/deadline_device.h>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>

#include "base/base_test_support.h"
#include "block/fake_clock.h"
#include "block/held_device.h"

namespace handback::testing {
namespace {

constexpr unsigned bios_each = 24;

struct Tally {
  std::atomic<unsigned> answered{0};
  std::atomic<unsigned> timed_out{0};
  std::atomic<unsigned> wrong{0};
  [[nodiscard]] unsigned ended() const { return answered.load() + timed_out.load() + wrong.load(); }
};

// Lives on the heap and goes in its end: whoever touches it again is seen by the sanitizers.
struct Fleeting : Bio {
  explicit Fleeting(Tally& of) : tally(of) {
    op = BioOp::write;
    add_segment(memory, sizeof memory);
    end_io = &Fleeting::ended;
  }
  static void ended(Bio& bio) noexcept {
    Tally& to = static_cast<Fleeting&>(bio).tally;
    const IoResult how = bio.result;
    delete &static_cast<Fleeting&>(bio);
    if (how == IoResult::success(512)) {
      ++to.answered;
    } else if (how == IoResult::failure(Errc::timed_out, IoDetail::missed_deadline)) {
      ++to.timed_out;
    } else {
      ++to.wrong;
    }
  }
  Tally& tally;
  std::byte memory[512] = {};
};

TEST(DeadlineRace, EndsEachBioOnceByItsAnswerOrItsDeadline) {
  unsigned answered = 0;
  unsigned timed_out = 0;
  const auto rounds = static_cast<unsigned>(number_from_environment("HB_RACE_ROUNDS", 400));
  for (unsigned round = 0; round < rounds; ++round) {
    FakeClock clock;
    HeldDevice below;
    below.recording = false;
    const auto device = make_deadline_device(below, clock.options());
    auto queue = std::move(*device->open_queue(-1));
    Tally tally;
    for (unsigned i = 0; i < bios_each; ++i)
      queue->submit(new Fleeting(tally));
    for (unsigned tick = 0; tick < 8; ++tick) {
      clock.turn(fake_tick_ns);
      queue->poll();
    }
    // One more tick, and all are late.
    std::atomic<bool> go{false};
    std::array<std::thread, 2> others;
    for (std::thread& other : others) {
      other = std::thread([&] {
        while (!go)
          std::this_thread::yield();
        while (below.answer_here()) {
        }
      });
    }
    // Who is first is chance, on a busy machine always the same one; so in some rounds it is the
    // deadline.
    if (round % 8 == 0) {
      clock.turn(fake_tick_ns);
      queue->poll();
    }
    go = true;
    while (round % 8 != 0 && tally.answered == 0)
      std::this_thread::yield();
    clock.turn(fake_tick_ns);
    while (tally.ended() != bios_each)
      queue->poll();
    // The queue goes while late answers are still on their way.
    queue.reset();
    for (std::thread& other : others)
      other.join();
    EXPECT_EQ(tally.wrong, 0U);
    EXPECT_EQ(tally.ended(), bios_each);
    EXPECT_EQ(overdue(*device), 0U);
    EXPECT_EQ(below.queues_open, 0);
    answered += tally.answered;
    timed_out += tally.timed_out;
  }
  EXPECT_EQ(answered + timed_out, rounds * bios_each);
  EXPECT_GT(answered, 0U);
  EXPECT_GT(timed_out, 0U);
  RecordProperty("timed_out", static_cast<int>(timed_out));
}

TEST(DeadlineRace, ALateAnswerOfAForeignThreadTouchesNothingOfTheCallers) {
  FakeClock clock;
  HeldDevice below;
  const auto device = make_deadline_device(below, clock.options());
  auto queue = std::move(*device->open_queue(-1));
  Tally tally;
  queue->submit(new Fleeting(tally));
  for (unsigned tick = 0; tick < 9; ++tick) {
    clock.turn(fake_tick_ns);
    queue->poll();
  }
  EXPECT_EQ(tally.timed_out, 1U);
  EXPECT_EQ(overdue(*device), 1U);
  std::thread([&] { below.answer_here(); }).join();
  EXPECT_EQ(tally.ended(), 1U);
  EXPECT_EQ(overdue(*device), 0U);
}

TEST(DeadlineRace, AQueueWhoseThreadIsGoneWaitsForItsAnswersWithTheDevice) {
  FakeClock clock;
  HeldDevice below;
  const auto device = make_deadline_device(below, clock.options());
  Tally tally;
  std::thread([&] {
    auto queue = std::move(*device->open_queue(-1));
    queue->submit(new Fleeting(tally));
    for (unsigned tick = 0; tick < 9; ++tick) {
      clock.turn(fake_tick_ns);
      queue->poll();
    }
  }).join();
  EXPECT_EQ(tally.timed_out, 1U);
  EXPECT_EQ(overdue(*device), 1U);
  // Another thread, perhaps in the memory of the one that went, leaves its queue alone.
  std::thread([&] { EXPECT_EQ(overdue(*device), 1U); }).join();
  EXPECT_TRUE(below.answer_here());
  EXPECT_EQ(overdue(*device), 0U);
  EXPECT_EQ(below.queues_open, 0);
}

}  // namespace
}  // namespace handback::testing
