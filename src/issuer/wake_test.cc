#include "issuer/wake.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "base/base_test_support.h"

namespace handback::testing {
namespace {

bool is_readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

TEST(Wake, WritesNothingWhileNobodySleeps) {
  Wake wake(value_of(Wake::open_event_fd()));
  wake.wake();
  EXPECT_FALSE(is_readable(wake.event_fd()));
  wake.announce_sleep();
  wake.end_sleep();
  wake.wake();
  EXPECT_FALSE(is_readable(wake.event_fd()));
}

TEST(Wake, MakesTheDescriptorReadableOnceASleepIsAnnounced) {
  Wake wake(value_of(Wake::open_event_fd()));
  wake.announce_sleep();
  EXPECT_FALSE(is_readable(wake.event_fd()));
  wake.wake();
  EXPECT_TRUE(is_readable(wake.event_fd()));
  wake.end_sleep();
  EXPECT_FALSE(is_readable(wake.event_fd()));
}

TEST(Wake, WritesOncePerSleepHoweverManyWake) {
  Wake wake(value_of(Wake::open_event_fd()));
  wake.announce_sleep();
  for (int i = 0; i < 5; ++i)
    wake.wake();
  std::uint64_t count = 0;
  ASSERT_EQ(::read(wake.event_fd(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
  EXPECT_EQ(count, 1U);
  wake.end_sleep();
}

TEST(Wake, EndsASleepThatNobodyInterrupted) {
  Wake wake(value_of(Wake::open_event_fd()));
  for (int round = 0; round < 3; ++round) {
    wake.announce_sleep();
    wake.end_sleep();
    EXPECT_FALSE(is_readable(wake.event_fd()));
  }
}

// A waker can be preempted between winning the flag and writing. Here the Wake's descriptor is a
// socket, and the test at its other end plays the eventfd: it decides when a waker's write arrives.
class LateWrites : public ::testing::Test {
 protected:
  LateWrites() {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends_.data()),
              0);
    wake_ = std::make_unique<Wake>(ends_[0]);
  }
  ~LateWrites() override { ::close(ends_[1]); }

  // Whether a waker has written; its write has not arrived yet.
  bool written() {
    std::uint64_t one = 0;
    return ::read(ends_[1], &one, sizeof one) == static_cast<ssize_t>(sizeof one);
  }
  void arrive() {
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(ends_[1], &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  [[nodiscard]] bool sleep_would_end_at_once() const { return is_readable(ends_[0]); }

  std::array<int, 2> ends_{};
  std::unique_ptr<Wake> wake_;
};

TEST_F(LateWrites, AreReadAfterTheNextSleepWhichTheyMakeShort) {
  wake_->announce_sleep();
  wake_->wake();
  ASSERT_TRUE(written());
  wake_->end_sleep();  // Found the work by itself.

  wake_->announce_sleep();
  arrive();
  EXPECT_TRUE(sleep_would_end_at_once());
  wake_->end_sleep();

  wake_->announce_sleep();
  EXPECT_FALSE(sleep_would_end_at_once());
  wake_->end_sleep();
}

// As wake.cc says: a write that stays unread means that no sleep ever lasts again.
TEST_F(LateWrites, AreReadEvenIfTheyArriveAfterAnotherWakersWrite) {
  wake_->announce_sleep();
  wake_->wake();
  ASSERT_TRUE(written());  // The first waker is preempted here.
  wake_->end_sleep();

  wake_->announce_sleep();
  wake_->wake();
  ASSERT_TRUE(written());  // The second is not.
  arrive();
  wake_->end_sleep();

  arrive();  // The first waker's.
  unsigned short_sleeps = 0;
  for (int sleep = 0; sleep < 10; ++sleep) {
    wake_->announce_sleep();
    if (sleep_would_end_at_once()) ++short_sleeps;
    wake_->end_sleep();
  }
  EXPECT_LE(short_sleeps, 1U);
}

// The owner's rule: announce, look once more, sleep. A lost wake-up hangs the test.
TEST(Wake, NeverLosesAWakerThatPushedBeforeItLooked) {
  constexpr unsigned rounds = 5'000;
  Wake wake(value_of(Wake::open_event_fd()));
  std::atomic<unsigned> pushed{0};
  std::atomic<unsigned> seen{0};
  std::thread waker([&] {
    for (unsigned i = 1; i <= rounds; ++i) {
      pushed.store(i, std::memory_order_seq_cst);
      wake.wake();
      while (seen.load(std::memory_order_acquire) != i)
        std::this_thread::yield();
    }
  });
  for (unsigned i = 1; i <= rounds; ++i) {
    while (pushed.load(std::memory_order_seq_cst) != i) {
      wake.announce_sleep();
      if (pushed.load(std::memory_order_seq_cst) != i) {
        pollfd entry{wake.event_fd(), POLLIN, 0};
        ::poll(&entry, 1, -1);
      }
      wake.end_sleep();
    }
    seen.store(i, std::memory_order_release);
  }
  waker.join();
}

}  // namespace
}  // namespace handback::testing
