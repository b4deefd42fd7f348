// Drains and waits end though the device never answers, wherever the threads are.
#include <handback/deadline_device.h>

#include <poll.h>

#include <latch>
#include <mutex>
#include <thread>

#include "block/fake_clock.h"
#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

const IoResult timed_out = IoResult::failure(Errc::timed_out, IoDetail::missed_deadline);
const RouteDecision failed_by_issuer{Route::issuer, RouteReason::error};

class DioDeadline : public ::testing::Test {
 protected:
  DioDeadline() : device(make_deadline_device(below, clock.options())), rig(*device) {
    rig.file.map(0, 8192, 8192);
    rig.file.size = 8192;
    below.hold(true);
    // Each look at the clock is one tick later.
    clock.step_ns = fake_tick_ns;
  }
  ~DioDeadline() override {
    while (below.held_count() != 0)
      below.end_here();
    EXPECT_EQ(overdue(*device), 0U);
  }

  FakeClock clock;
  FakeDevice below;
  std::unique_ptr<BlockDevice> device;
  DioRig rig;
  AlignedBuffer data = random_buffer(4096, 3);
};

TEST_F(DioDeadline, ARequestEndsOnceWithTimedOutAndLaterOnesArePoisoned) {
  EXPECT_EQ(rig.write(0, data.span()), timed_out);
  EXPECT_EQ(rig.routed, failed_by_issuer);
  EXPECT_EQ(overdue(*device), 1U);
  EXPECT_EQ(rig.read(0, data.span()), IoResult::failure(Errc::poisoned, IoDetail::missed_deadline));
  EXPECT_EQ(rig.routed, failed_by_issuer);
  EXPECT_EQ(rig.file.ended.size(), 2U);
}

TEST_F(DioDeadline, AThreadThatSleepsOnSeveralDevicesSeesItToo) {
  FakeDevice other_below;
  const auto other = make_deadline_device(other_below);
  ASSERT_TRUE(rig.issuer->attach(*other));
  EXPECT_EQ(rig.write(0, data.span()), timed_out);
  rig.issuer->detach(*other);
}

TEST_F(DioDeadline, ADrainOfTheSameThreadEnds) {
  TestAiocb write;
  write.prepare_write_of(rig.file, 0, data.span());
  rig.issuer->submit(write);
  { const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096); }
  EXPECT_EQ(write.delivered, 0U);
  while (rig.issuer->in_flight() != 0)
    rig.issuer->wait();
  EXPECT_EQ(write.delivered, 1U);
  EXPECT_EQ(write.result, timed_out);
}

TEST_F(DioDeadline, ADrainEndsThoughTheOwnerIsBlockedElsewhere) {
  std::mutex door;
  std::unique_lock<std::mutex> door_lock(door);
  std::latch submitted{1};
  IoResult result;
  RouteDecision routed{};
  std::atomic<unsigned> delivered{0};
  bool on_its_own_thread = false;
  std::thread owner([&] {
    const auto issuer = make_issuer();
    const auto self = std::this_thread::get_id();
    TestAiocb write;
    write.on_delivered = [&] {
      ++delivered;
      on_its_own_thread = std::this_thread::get_id() == self;
    };
    write.prepare_write_of(rig.file, 0, data.span());
    issuer->submit(write);
    issuer->kick();
    submitted.count_down();
#if defined(__SANITIZE_THREAD__)
    // ThreadSanitizer runs signal handlers only where a thread calls something it knows.
    while (!door.try_lock())
      ::poll(nullptr, 0, 0);
    door.unlock();
#else
    { const std::lock_guard passed(door); }
#endif
    while (issuer->in_flight() != 0)
      issuer->wait();
    result = write.result;
    routed = {write.route, write.route_reason};
  });
  submitted.wait();
  {
    const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096);
    ASSERT_EQ(rig.file.ended.size(), 1U);
    EXPECT_EQ(rig.file.ended[0].end.result, timed_out);
    EXPECT_EQ(rig.file.ended[0].thread, std::this_thread::get_id());
    EXPECT_EQ(delivered, 0U);
  }
  door_lock.unlock();
  owner.join();
  EXPECT_EQ(delivered, 1U);
  EXPECT_TRUE(on_its_own_thread);
  EXPECT_EQ(result, timed_out);
  EXPECT_EQ(routed, failed_by_issuer);
  EXPECT_EQ(overdue(*device), 1U);
}

}  // namespace
}  // namespace handback::testing
