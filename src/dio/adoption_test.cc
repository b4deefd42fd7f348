// Drains of one thread while the issuer of what is in flight is elsewhere.
#include <poll.h>
#include <time.h>

#include <latch>
#include <mutex>

#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

// Another thread that submits one extending write, so that its completion needs an issuer, and then
// stays outside the library until it is told otherwise.
class Outsider {
 public:
  // `stay` runs outside the library; it returns once `leave` is true.
  template <typename Stay>
  Outsider(DioRig& rig, BlockDevice& device, Stay stay, const IssuerOptions& options = {})
      : data_(random_buffer(4096, 7)), thread_([this, &rig, &device, stay, options] {
          auto issuer = make_issuer(options);
          must_attach(*issuer, device);
          Aiocb aiocb;
          aiocb.prepare_write(
              rig.file, 0, data_.span(), KiocbFlags::none,
              [](Aiocb& done) noexcept {
                static_cast<Outsider*>(done.context)->delivered_on_ = std::this_thread::get_id();
              },
              this);
          issuer->submit(aiocb);
          issuer->kick();
          submitted_.count_down();
          stay(*this);
          left = true;
          while (issuer->in_flight() != 0)
            issuer->wait();
          result = aiocb.result;
          stats = issuer->stats();
        }) {
    submitted_.wait();
  }
  ~Outsider() {
    if (thread_.joinable()) join();
  }
  void join() {
    leave = true;
    door_lock.unlock();
    thread_.join();
  }
  [[nodiscard]] bool delivered_by_itself() const {
    return delivered_on_ != std::thread::id() && delivered_on_ != std::this_thread::get_id();
  }

  std::mutex door;
  std::unique_lock<std::mutex> door_lock{door};  // The test holds it until the outsider may leave.
  std::atomic<bool> leave{false};
  std::atomic<bool> left{false};
  IoResult result;
  IssuerStats stats;

 private:
  static void must_attach(Issuer& issuer, BlockDevice& device) {
    ASSERT_TRUE(issuer.attach(device));
  }
  AlignedBuffer data_;
  std::thread::id delivered_on_;
  std::latch submitted_{1};
  std::thread thread_;
};

// ThreadSanitizer runs signal handlers only where a thread calls something it knows: hence poll().
void look_up() {
  ::poll(nullptr, 0, 0);
}
void block(Outsider& outsider) {
#if defined(__SANITIZE_THREAD__)
  while (!outsider.door.try_lock())
    look_up();
  outsider.door.unlock();
#else
  const std::lock_guard passed(outsider.door);
#endif
}
void spin(Outsider& outsider) {
  while (!outsider.leave)
    look_up();
}
void sleep_long(Outsider& outsider) {
  // A nudge ends the sleep early, and is what lets this thread look at `leave` again.
  const timespec while_long{3600, 0};
  ::nanosleep(&while_long, nullptr);
  while (!outsider.leave)
    look_up();
}

class Adoption : public ::testing::Test {
 protected:
  Adoption() { rig.file.map(0, 4096, 8192, IomapType::unwritten); }

  void drain_past(Outsider& outsider) {
    {
      const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096);
      EXPECT_FALSE(outsider.left);
      ASSERT_EQ(rig.file.ended.size(), 1U);
      EXPECT_EQ(rig.file.ended[0].context, Context::issuer);
      EXPECT_EQ(rig.file.ended[0].thread, std::this_thread::get_id());
      EXPECT_EQ(rig.file.size.load(), 4096U);
    }
    outsider.join();
    EXPECT_EQ(outsider.result, IoResult::success(4096));
    EXPECT_TRUE(outsider.delivered_by_itself());
    EXPECT_EQ(rig.issuer->stats().adopted, 1U);
  }

  FakeRig rig;
};

TEST_F(Adoption, SettlesWhatWasHandedBackToAThreadBlockedElsewhere) {
  Outsider outsider(rig, rig.device, &block);
  drain_past(outsider);
  EXPECT_GE(outsider.stats.nudges_served, 1U);
}

TEST_F(Adoption, SettlesWhatWasHandedBackToAThreadThatSpins) {
  Outsider outsider(rig, rig.device, &spin);
  drain_past(outsider);
}

TEST_F(Adoption, SettlesWhatWasHandedBackToAThreadThatSleeps) {
  Outsider outsider(rig, rig.device, &sleep_long);
  drain_past(outsider);
}

TEST_F(Adoption, NeedsNoSignalForWhatAForeignThreadCompleted) {
  rig.device.hold(true);
  Outsider outsider(rig, rig.device, &block, {.nudge_signal = 0});
  rig.device.wait_for_held(1);
  rig.device.end_here();
  drain_past(outsider);
  EXPECT_EQ(outsider.stats.nudges_served, 0U);
}

// The write before it, in whose favour it waits with its end, is that of a thread that is
// elsewhere.
TEST_F(Adoption, EndsAWriteThatStandsBehindThatOfAThreadBlockedElsewhere) {
  rig.file.in_order = true;
  rig.file.map(4096, 4096, 16384);
  Outsider outsider(rig, rig.device, &block);
  const AlignedBuffer data = random_buffer(4096, 3);
  Aiocb aiocb;
  aiocb.prepare_write(rig.file, 4096, data.span());
  rig.issuer->submit(aiocb);
  while (rig.issuer->in_flight() != 0)
    rig.issuer->wait();
  EXPECT_EQ(aiocb.result, IoResult::success(4096));
  EXPECT_FALSE(outsider.left);
  EXPECT_EQ(rig.file.size.load(), 8192U);
  outsider.join();
}

TEST_F(Adoption, LeavesDeliveryToTheIssuer) {
  rig.device.hold(true);
  Outsider outsider(rig, rig.device, &block, {.nudge_signal = 0});
  rig.device.wait_for_held(1);
  rig.device.end_here();
  { const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096); }
  // Settled, and yet its own thread has not seen it.
  EXPECT_FALSE(outsider.delivered_by_itself());
  outsider.join();
  EXPECT_TRUE(outsider.delivered_by_itself());
}

TEST_F(Adoption, WaitsOnlyForWhatOverlaps) {
  rig.device.hold(true);
  Outsider outsider(rig, rig.device, &block);
  rig.device.wait_for_held(1);
  { const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 4096, 4096); }
  EXPECT_EQ(rig.file.ended.size(), 0U);
  rig.device.end_here();
  outsider.join();
}

// A thread inside a callback is outside the library, too.
TEST_F(Adoption, ReachesAThreadThatBlocksInItsCallback) {
  rig.file.map(4096, 4096, 16384, IomapType::mapped);
  rig.file.size = 0;
  std::atomic<bool> in_callback{false};
  std::atomic<bool> leave{false};
  std::thread other([&] {
    auto issuer = make_issuer();
    const AlignedBuffer data = random_buffer(4096, 3);
    TestAiocb extending;
    TestAiocb first;
    AlignedBuffer nothing(4096);
    first.prepare_read_of(rig.file, 1U << 19, nothing.span());
    first.on_delivered = [&] {
      extending.prepare_write_of(rig.file, 0, data.span());
      issuer->submit(extending);
      issuer->kick();
      in_callback = true;
      in_callback.notify_all();
      while (!leave)
        look_up();
    };
    issuer->submit(first);
    while (issuer->in_flight() != 0)
      issuer->wait();
    EXPECT_EQ(extending.result, IoResult::success(4096));
    EXPECT_EQ(extending.delivered, 1U);
  });
  in_callback.wait(false);
  { const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096); }
  EXPECT_EQ(rig.file.size.load(), 4096U);
  leave = true;
  other.join();
}

// The thread ends, its issuer does not.
TEST_F(Adoption, LeavesNothingInFlightOfAThreadThatEnds) {
  std::unique_ptr<Issuer> left_behind;
  Aiocb aiocb;
  const AlignedBuffer data = random_buffer(4096, 3);
  bool called = false;
  std::thread([&] {
    left_behind = make_issuer();
    aiocb.prepare_write(
        rig.file, 0, data.span(), KiocbFlags::none,
        [](Aiocb& done) noexcept { *static_cast<bool*>(done.context) = true; }, &called);
    left_behind->submit(aiocb);
  }).join();
  EXPECT_EQ(rig.file.inflight.count(), 0U);
  ASSERT_EQ(rig.file.ended.size(), 1U);
  EXPECT_EQ(rig.file.ended[0].end.result, IoResult::success(4096));
  EXPECT_EQ(rig.device.queues_closed, 1U);
  left_behind.reset();
  EXPECT_FALSE(called);
}

// Whoever holds the range may be waiting for the thread: here it joins it.
TEST_F(Adoption, CancelsWhatStandsInLineOfAThreadThatEnds) {
  rig.file.map(4096, 4096, 16384);
  rig.file.size = 8192;
  const DioInflight::Drain drain(rig.file.inflight, *rig.issuer, 0, 4096);
  std::unique_ptr<Issuer> left_behind;
  Aiocb in_line;
  TestAiocb behind;
  const AlignedBuffer data = random_buffer(8192, 3);
  std::latch standing{1};
  std::latch both{1};
  std::thread other([&] {
    left_behind = make_issuer();
    in_line.prepare_write(rig.file, 0, data.span());
    left_behind->submit(in_line);
    standing.count_down();
    both.wait();
  });
  standing.wait();
  // Part of a block, so it excludes the one in line before it.
  behind.prepare_write_of(rig.file, 4096, data.span().first(512));
  rig.issuer->submit(behind);
  both.count_down();
  other.join();
  EXPECT_EQ(in_line.result, IoResult::failure(Errc::canceled));
  ASSERT_EQ(rig.file.ended.size(), 1U);
  EXPECT_EQ(rig.file.ended[0].end.result, IoResult::failure(Errc::canceled));
  // The line has closed up behind it.
  rig.issuer->wait();
  EXPECT_EQ(behind.result, IoResult::success(512));
  EXPECT_EQ(rig.device.seen.size(), 1U);
}

}  // namespace
}  // namespace handback::testing
