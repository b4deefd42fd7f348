// What one thread sees of a device with a deadline.
#include <handback/deadline_device.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <set>

#include "block/fake_clock.h"
#include "block/held_device.h"
#include "block/queue_driver.h"

namespace handback::testing {
namespace {

using ::testing::ElementsAre;

const IoResult timed_out = IoResult::failure(Errc::timed_out, IoDetail::missed_deadline);
const IoResult poisoned = IoResult::failure(Errc::poisoned, IoDetail::missed_deadline);

// Counts its ends; may be destroyed in the last.
struct CountedBio : Bio {
  explicit CountedBio(BioOp op_wanted = BioOp::write, std::uint64_t addr_wanted = 0) {
    op = op_wanted;
    addr = addr_wanted;
    if (op_wanted != BioOp::flush) add_segment(memory, sizeof memory);
    end_io = [](Bio& bio) noexcept { ++static_cast<CountedBio&>(bio).ends; };
  }
  unsigned ends = 0;
  std::byte memory[512] = {};
};

class DeadlineDeviceTest : public ::testing::Test {
 protected:
  DeadlineDeviceTest() : device_(make_deadline_device(below_, clock_.options())) { open(); }
  ~DeadlineDeviceTest() override { answer_all(); }

  // A test whose bios are not late yet calls it before they go.
  void answer_all() {
    while (below_.answer_here()) {
    }
  }

  void open() { queue_ = std::move(*device_->open_queue(-1)); }
  void submit(CountedBio& bio) { queue_->submit(&bio); }
  void let_ticks_pass(unsigned ticks) {
    for (unsigned i = 0; i < ticks; ++i) {
      clock_.turn(fake_tick_ns);
      queue_->poll();
    }
  }
  // The first look, and the whole deadline.
  void let_deadline_pass() { let_ticks_pass(9); }

  FakeClock clock_;
  HeldDevice below_;
  std::unique_ptr<BlockDevice> device_;
  std::unique_ptr<BlockQueue> queue_;
};

TEST_F(DeadlineDeviceTest, GivesTheDeviceBelowWhatItWasGiven) {
  CountedBio write(BioOp::write, 4096);
  std::array<std::byte, 1024> more{};
  write.add_segment(more.data(), more.size());
  write.ioprio = 7;
  write.fua = true;
  CountedBio flush(BioOp::flush);
  write.next = &flush;
  queue_->submit(&write);
  ASSERT_EQ(below_.seen.size(), 2U);
  const Bio& seen = below_.seen[0];
  EXPECT_EQ(seen.op, BioOp::write);
  EXPECT_EQ(seen.addr, 4096U);
  EXPECT_EQ(seen.length, 1536U);
  EXPECT_EQ(seen.ioprio, 7U);
  EXPECT_TRUE(seen.fua);
  ASSERT_EQ(seen.segment_count, 2U);
  EXPECT_EQ(seen.segments[0].iov_base, write.memory);
  EXPECT_EQ(seen.segments[0].iov_len, 512U);
  EXPECT_EQ(seen.segments[1].iov_base, more.data());
  EXPECT_EQ(seen.segments[1].iov_len, 1024U);
  EXPECT_EQ(below_.seen[1].op, BioOp::flush);
  EXPECT_EQ(below_.seen[1].segment_count, 0U);
  EXPECT_FALSE(below_.seen[1].fua);
  answer_all();
}

TEST_F(DeadlineDeviceTest, EndsABioOnceWithTheAnswerOfTheDeviceBelow) {
  CountedBio good;
  CountedBio bad;
  submit(good);
  submit(bad);
  const IoResult broken = IoResult::host_failure(EIO, 512);
  below_.answer_in_poll(1, broken);
  EXPECT_EQ(queue_->poll(), 1U);
  below_.answer_in_poll();
  EXPECT_EQ(queue_->poll(), 1U);
  EXPECT_EQ(queue_->poll(), 0U);
  EXPECT_EQ(good.result, IoResult::success(512));
  EXPECT_EQ(bad.result, broken);
  EXPECT_EQ(good.ends, 1U);
  EXPECT_EQ(bad.ends, 1U);
}

TEST_F(DeadlineDeviceTest, EndsABioAtItsDeadlineAndNotBefore) {
  CountedBio bio;
  submit(bio);
  EXPECT_EQ(queue_->poll(), 0U);  // From here on.
  let_ticks_pass(7);
  clock_.turn(fake_tick_ns - 1);
  EXPECT_EQ(queue_->poll(), 0U);
  EXPECT_EQ(bio.ends, 0U);
  clock_.turn(1);
  EXPECT_EQ(queue_->poll(), 1U);
  EXPECT_EQ(bio.ends, 1U);
  EXPECT_EQ(bio.result, timed_out);
  let_deadline_pass();
  EXPECT_EQ(bio.ends, 1U);
}

TEST_F(DeadlineDeviceTest, CountsFromTheSubmissionHoweverLongNobodyHadLooked) {
  queue_->poll();
  clock_.turn(1'000 * fake_tick_ns);
  CountedBio bio;
  submit(bio);
  queue_->poll();
  let_ticks_pass(7);
  EXPECT_EQ(bio.ends, 0U);
  let_ticks_pass(1);
  EXPECT_EQ(bio.result, timed_out);
}

// A process that is stopped, or a thread that is away, has looked at nothing.
TEST_F(DeadlineDeviceTest, DoesNotTakeAPauseOfItsThreadForSilenceOfTheDevice) {
  CountedBio bio;
  submit(bio);
  queue_->poll();
  clock_.turn(1'000 * fake_tick_ns);
  queue_->poll();
  EXPECT_EQ(bio.ends, 0U);
  let_ticks_pass(6);
  EXPECT_EQ(bio.ends, 0U);
  let_ticks_pass(1);
  EXPECT_EQ(bio.ends, 1U);
}

TEST_F(DeadlineDeviceTest, PrefersAnAnswerThatIsThereToADeadlineThatHasPassed) {
  CountedBio bio;
  submit(bio);
  let_ticks_pass(8);
  clock_.turn(fake_tick_ns);
  below_.answer_in_poll();
  EXPECT_EQ(queue_->poll(), 1U);
  EXPECT_EQ(bio.result, IoResult::success(512));
}

TEST_F(DeadlineDeviceTest, LooksForAnswersToTheEndBeforeItCallsABioLateWhileBusy) {
  CountedBio old;
  submit(old);
  let_ticks_pass(8);
  below_.answers_per_poll = 1;
  const auto one_more = [&](CountedBio& bio) {
    submit(bio);
    below_.answer_in_poll(below_.held_count() - 1);
  };
  for (unsigned i = 0; i < 63; ++i) {
    CountedBio other;
    one_more(other);
    EXPECT_EQ(queue_->poll(), 1U);
    EXPECT_EQ(other.result, IoResult::success(512));
  }
  clock_.turn(fake_tick_ns);
  CountedBio other;
  one_more(other);
  below_.answer_in_poll();  // The old one, second in line.
  EXPECT_EQ(queue_->poll(), 2U);
  EXPECT_EQ(old.result, IoResult::success(512));
}

TEST_F(DeadlineDeviceTest, FindsALateBioWhileOthersAreAnsweredWithoutAPause) {
  CountedBio stuck;
  submit(stuck);
  unsigned polls = 0;
  while (stuck.ends == 0 && polls < 9 * 64) {
    CountedBio other;
    submit(other);
    below_.answer_in_poll(below_.held_count() - 1);
    clock_.turn(fake_tick_ns);
    queue_->poll();
    EXPECT_EQ(other.result, IoResult::success(512));
    ++polls;
  }
  EXPECT_EQ(polls, 9U * 64U);
  EXPECT_EQ(stuck.result, timed_out);
}

TEST_F(DeadlineDeviceTest, OfManyBiosEndsOnlyTheOneThatIsLate) {
  std::array<CountedBio, 100> bios;
  for (CountedBio& bio : bios)
    submit(bio);
  let_ticks_pass(5);
  // All but the 41st, from both ends.
  for (unsigned i = 0; i < 40; ++i)
    below_.answer_in_poll();
  while (below_.held_count() > 1)
    below_.answer_in_poll(below_.held_count() - 1);
  EXPECT_EQ(queue_->poll(), 99U);
  CountedBio younger;
  submit(younger);
  let_ticks_pass(4);
  for (unsigned i = 0; i < bios.size(); ++i) {
    EXPECT_EQ(bios[i].ends, 1U) << i;
    EXPECT_EQ(bios[i].result, i == 40 ? timed_out : IoResult::success(512)) << i;
  }
  EXPECT_EQ(younger.ends, 0U);
  // It is not dragged along: it has an answer or a deadline of its own.
  below_.answer_in_poll(1);
  EXPECT_EQ(queue_->poll(), 1U);
  EXPECT_EQ(younger.result, IoResult::success(512));
}

TEST_F(DeadlineDeviceTest, IsPoisonedForEveryLaterBioOfEveryQueue) {
  auto other_queue = std::move(*device_->open_queue(-1));
  CountedBio late;
  submit(late);
  let_deadline_pass();
  ASSERT_EQ(late.result, timed_out);
  auto third_queue = std::move(*device_->open_queue(-1));
  for (BlockQueue* queue : {queue_.get(), other_queue.get(), third_queue.get()}) {
    for (const BioOp op : {BioOp::read, BioOp::write, BioOp::flush}) {
      CountedBio bio(op);
      queue->submit(&bio);
      EXPECT_EQ(bio.ends, 0U) << "inside submit()";
      EXPECT_EQ(queue->poll(), 1U);
      EXPECT_EQ(bio.ends, 1U);
      EXPECT_EQ(bio.result, poisoned);
    }
  }
  EXPECT_EQ(below_.seen.size(), 1U);
  EXPECT_EQ(describe(poisoned),
            "poisoned: the device let a request miss its deadline, and what became of that is "
            "unknown; close the device and open it again");
}

TEST_F(DeadlineDeviceTest, DoesNotSleepWhileARefusedBioWaitsForItsEnd) {
  queue_ = std::move(*device_->open_queue(0));
  CountedBio late;
  submit(late);
  let_deadline_pass();
  EXPECT_EQ(queue_->wait_fd(), 0);
  CountedBio refused;
  submit(refused);
  below_.waits_ns.clear();
  queue_->wait(-1);
  EXPECT_THAT(below_.waits_ns, ElementsAre(0));
  EXPECT_EQ(queue_->wait_fd(), -1);
  EXPECT_EQ(queue_->poll(), 1U);
  EXPECT_EQ(queue_->wait_fd(), 0);
}

TEST_F(DeadlineDeviceTest, ALateAnswerOnTheSameThreadTouchesNothingOfTheCallers) {
  auto bio = std::make_unique<CountedBio>();
  submit(*bio);
  let_deadline_pass();
  EXPECT_EQ(bio->result, timed_out);
  EXPECT_EQ(overdue(*device_), 1U);
  bio.reset();
  below_.answer_in_poll();
  EXPECT_EQ(queue_->poll(), 0U);  // Nobody's bio ended here.
  EXPECT_EQ(overdue(*device_), 0U);
}

TEST_F(DeadlineDeviceTest, SleepsNoLongerThanToTheNextLook) {
  queue_->wait(-1);
  queue_->wait(5);
  CountedBio bio;
  submit(bio);
  queue_->poll();
  clock_.turn(3);
  queue_->wait(-1);
  queue_->wait(7);
  queue_->wait(fake_tick_ns);
  clock_.turn(fake_tick_ns);
  queue_->wait(-1);
  EXPECT_THAT(below_.waits_ns, ElementsAre(-1, 5, fake_tick_ns - 3, 7, fake_tick_ns - 3, 0));
  answer_all();
}

TEST_F(DeadlineDeviceTest, WaitsByItsOwnClockUntilTheDeadline) {
  DeadlineOptions options;
  options.deadline_ms = 8;
  const auto device = make_deadline_device(below_, options);
  {
    QueueDriver driver(*device);
    TestMemory memory(512);
    EXPECT_EQ(driver.run(BioOp::read, 0, memory.data(), 512), timed_out);
  }
  EXPECT_EQ(overdue(*device), 1U);
  EXPECT_TRUE(below_.answer_here());
  EXPECT_EQ(overdue(*device), 0U);
}

TEST_F(DeadlineDeviceTest, AClosedQueueStaysBelowUntilItsLateBiosAreAnswered) {
  CountedBio first;
  CountedBio second;
  submit(first);
  submit(second);
  let_deadline_pass();
  queue_.reset();
  EXPECT_EQ(below_.queues_open, 1);
  EXPECT_EQ(overdue(*device_), 2U);
  below_.answer_in_poll();  // Somebody has to poll, which overdue() does.
  EXPECT_EQ(overdue(*device_), 1U);
  EXPECT_EQ(below_.queues_open, 1);
  below_.answer_here();
  EXPECT_EQ(overdue(*device_), 0U);
  EXPECT_EQ(below_.queues_open, 0);
  EXPECT_EQ(first.ends + second.ends, 2U);
}

TEST_F(DeadlineDeviceTest, AQueueWithoutLateBiosGoesAtOnce) {
  CountedBio bio;
  submit(bio);
  below_.answer_in_poll();
  queue_->poll();
  queue_.reset();
  EXPECT_EQ(below_.queues_open, 0);
}

struct OwnedDevice {
  explicit OwnedDevice(DeadlineOptions options) {
    auto owned = std::make_unique<HeldDevice>();
    below = owned.get();
    below->destroyed = &destroyed;
    options.notice = [this](std::string_view text) { notices.emplace_back(text); };
    device = make_deadline_device(std::move(owned), options);
    queue = std::move(*device->open_queue(-1));
  }
  bool destroyed = false;
  std::vector<std::string> notices;
  HeldDevice* below;
  std::unique_ptr<BlockDevice> device;
  std::unique_ptr<BlockQueue> queue;
};

TEST_F(DeadlineDeviceTest, DestroysTheDeviceThatItOwns) {
  OwnedDevice owned(clock_.options());
  owned.queue.reset();
  owned.device.reset();
  EXPECT_TRUE(owned.destroyed);
  EXPECT_TRUE(owned.notices.empty());
}

TEST_F(DeadlineDeviceTest, LeavesBehindWhatIsNeverAnsweredAndSaysSo) {
  OwnedDevice owned(clock_.options());
  auto first = std::make_unique<CountedBio>();
  auto second = std::make_unique<CountedBio>();
  owned.queue->submit(first.get());
  owned.queue->submit(second.get());
  for (unsigned i = 0; i < 9; ++i) {
    clock_.turn(fake_tick_ns);
    owned.queue->poll();
  }
  EXPECT_EQ(second->result, timed_out);
  owned.queue.reset();
  owned.device.reset();
  EXPECT_FALSE(owned.destroyed);
  EXPECT_THAT(
      owned.notices,
      ElementsAre(
          "held: 2 requests that missed their deadline were never answered; the memory that "
          "they name must stay as it is, and the device stays in use, until this process "
          "ends"));
  first.reset();
  second.reset();
  // Later than everything.
  owned.below->destroyed = nullptr;
  EXPECT_TRUE(owned.below->answer_here());
  EXPECT_TRUE(owned.below->answer_here());
}

TEST_F(DeadlineDeviceTest, ReusesItsShadows) {
  below_.recording = false;
  std::set<const Bio*> shadows;
  std::array<CountedBio, 60> bios;
  for (unsigned round = 0; round < 100; ++round) {
    for (CountedBio& bio : bios)
      submit(bio);
    for (unsigned i = 0; i < bios.size(); ++i) {
      shadows.insert(below_.held(i));
    }
    // Half of them here and half as from foreign threads.
    for (unsigned i = 0; i < bios.size() / 2; ++i) {
      below_.answer_in_poll();
      std::thread([&] { below_.answer_here(); }).join();
    }
    queue_->poll();
  }
  EXPECT_LE(shadows.size(), 64U);
}

TEST_F(DeadlineDeviceTest, ForwardsBuffersToBeRegistered) {
  auto& registers = dynamic_cast<RegistersBuffers&>(*queue_);
  std::array<std::byte, 8> memory{};
  EXPECT_TRUE(registers.register_buffer(memory));
  EXPECT_THAT(below_.registered, ElementsAre(memory.data()));
  registers.unregister_buffer(memory);
  EXPECT_TRUE(below_.registered.empty());
}

TEST_F(DeadlineDeviceTest, IsTheDeviceBelowToWhoAsks) {
  EXPECT_EQ(device_->name(), "held");
  EXPECT_EQ(&device_->geometry(), &below_.geometry());
  EXPECT_EQ(overdue(below_), 0U);
}

using DeadlineDeviceDeathTest = DeadlineDeviceTest;

TEST_F(DeadlineDeviceDeathTest, AQueueIsNotClosedWithBiosInFlight) {
  CountedBio bio;
  submit(bio);
  EXPECT_DEATH(queue_.reset(), "a queue is closed only when none of its bios is in flight");
  answer_all();
}

TEST_F(DeadlineDeviceDeathTest, TheDeviceOutlivesItsQueues) {
  EXPECT_DEATH(device_.reset(), "a device outlives its queues");
}

TEST_F(DeadlineDeviceDeathTest, ADeadlineIsNotZero) {
  DeadlineOptions options;
  options.deadline_ms = 0;
  EXPECT_DEATH(static_cast<void>(make_deadline_device(below_, options)),
               "a deadline is at least 1 ms");
}

}  // namespace
}  // namespace handback::testing
