// What the kernel's version got wrong, each as a scenario that passes here and fails with the old
// behaviour switched on. A scenario that hangs is ended by a watchdog: an alarm in a process of its
// own.
#include <unistd.h>

#include <latch>
#include <mutex>

#include "base/kernel_failure_test_support.h"
#include "dio/dio_test_support.h"
#include "issuer/issuer_impl.h"

namespace handback::testing {
namespace {

class KernelFailure : public ThreadedDeathTest {};

// A file of one unwritten block, and a request that will be handed back.
struct OneWrite {
  OneWrite() { rig.file.map(0, 4096, 8192, IomapType::unwritten); }

  FakeRig rig;
  AlignedBuffer data = random_buffer(4096, 1);
  Aiocb aiocb;
};

// A task waits for in-flight I/O whose completion is in its own queue.
bool drains_its_own() {
  OneWrite one;
  one.aiocb.prepare_write(one.rig.file, 0, one.data.span());
  one.rig.issuer->submit(one.aiocb);
  { const DioInflight::Drain drain(one.rig.file.inflight, *one.rig.issuer, 0, 4096); }
  one.rig.issuer->wait();
  return one.aiocb.result == IoResult::success(4096);
}

TEST_F(KernelFailure, SelfDrainEnds) {
  EXPECT_EXIT(run_watched(OldBehaviour::none, &drains_its_own), passes, "");
}
TEST_F(KernelFailure, SelfDrainHangsIfAWaitSettlesNothing) {
  EXPECT_EXIT(run_watched(OldBehaviour::wait_runs_nothing, &drains_its_own), hangs, "");
}

// Two threads, each with a completion of the file that the other drains: running one's own queue is
// not enough. The first is between two calls of the library; it drains only when the second has.
bool drains_another_threads() {
  OneWrite one;
  std::latch submitted{1};
  std::latch drained{1};
  std::thread other([&] {
    auto issuer = make_issuer();
    one.aiocb.prepare_write(one.rig.file, 0, one.data.span());
    issuer->submit(one.aiocb);
    issuer->kick();
    submitted.count_down();
    while (!drained.try_wait())
      ::usleep(0);
    issuer->wait();
  });
  submitted.wait();
  { const DioInflight::Drain drain(one.rig.file.inflight, *one.rig.issuer, 0, 4096); }
  drained.count_down();
  other.join();
  return one.aiocb.result == IoResult::success(4096);
}

TEST_F(KernelFailure, DrainOfAnotherThreadsCompletionEnds) {
  EXPECT_EXIT(run_watched(OldBehaviour::none, &drains_another_threads), passes, "");
}
TEST_F(KernelFailure, DrainOfAnotherThreadsCompletionHangsWithoutAdoption) {
  EXPECT_EXIT(run_watched(OldBehaviour::wait_runs_own, &drains_another_threads), hangs, "");
}

// One thread holds a lock of the user's over a drain, and its callback wants the same lock.
bool drains_under_a_lock_of_its_callback() {
  OneWrite one;
  static std::mutex lock;
  one.aiocb.prepare_write(one.rig.file, 0, one.data.span(), KiocbFlags::none,
                          [](Aiocb&) noexcept { const std::lock_guard guard(lock); });
  one.rig.issuer->submit(one.aiocb);
  {
    const std::lock_guard guard(lock);
    const DioInflight::Drain drain(one.rig.file.inflight, *one.rig.issuer, 0, 4096);
  }
  one.rig.issuer->wait();
  return one.aiocb.result == IoResult::success(4096);
}

TEST_F(KernelFailure, DrainUnderALockOfTheCallbackEnds) {
  EXPECT_EXIT(run_watched(OldBehaviour::none, &drains_under_a_lock_of_its_callback), passes, "");
}
TEST_F(KernelFailure, DrainUnderALockOfTheCallbackHangsIfWaitingDelivers) {
  EXPECT_EXIT(
      run_watched(OldBehaviour::deliver_while_waiting, &drains_under_a_lock_of_its_callback), hangs,
      "");
}

// A stacked file that knows nothing of DIO_DEFER clones the request for the file below it, and
// hands on what it is told.
class NaiveStackedFile final : public File {
 public:
  explicit NaiveStackedFile(File& lower) : lower_(lower) {}

  Outcome read_iter(Kiocb& /*kiocb*/, IovView /*to*/) noexcept override {
    return IoResult::failure(Errc::not_supported);
  }
  Outcome write_iter(Kiocb& kiocb, IovView from) noexcept override {
    upper_ = &kiocb;
    clone_.init_clone(kiocb, lower_);
    clone_.self = this;
    clone_.ki_complete = [](Kiocb& clone, Outcome outcome) noexcept {
      auto& stacked = *static_cast<Clone&>(clone).self;
      // The kernel's took what is not final for the result 0.
      stacked.upper_->ki_complete(*stacked.upper_,
                                  outcome.is_final() ? outcome : Outcome(IoResult::success(0)));
    };
    return lower_.write_iter(clone_, from);
  }

 private:
  struct Clone : Kiocb {
    NaiveStackedFile* self = nullptr;
  };
  File& lower_;
  Kiocb* upper_ = nullptr;
  Clone clone_;
};

bool writes_through_a_stacked_file() {
  // Never destroyed: what was lost is still in flight, and the file would say so first.
  auto& one = *new OneWrite();
  auto& stacked = *new NaiveStackedFile(one.rig.file);
  one.aiocb.prepare_write(stacked, 0, one.data.span());
  one.rig.issuer->submit(one.aiocb);
  one.rig.issuer->wait();
  return one.aiocb.result == IoResult::success(4096);
}

TEST_F(KernelFailure, CloneKeepsTheResult) {
  EXPECT_EXIT(run_watched(OldBehaviour::none, &writes_through_a_stacked_file), passes, "");
}
TEST_F(KernelFailure, CloneThatInheritsTheCapabilityLosesTheResult) {
  EXPECT_EXIT(run_watched(OldBehaviour::clone_inherits, &writes_through_a_stacked_file), fails, "");
}

// A handler takes a mutex on error, as zonefs does: it must not run where the bio ended.
bool handles_an_error_with_a_mutex() {
  OneWrite one;
  one.rig.file.map(0, 4096, 8192);
  one.rig.file.size = 4096;
  one.rig.file.on_end_io = [](Kiocb&, const DioEnd& end) -> Outcome {
    check_may(Acts::lock);
    return end.result;
  };
  one.rig.device.hold(true);
  one.aiocb.prepare_write(one.rig.file, 0, one.data.span());
  one.rig.issuer->submit(one.aiocb);
  one.rig.issuer->poll();
  one.rig.device.end_in_poll(0, IoResult::host_failure(EIO));
  while (one.rig.issuer->in_flight() != 0)
    one.rig.issuer->wait();
  return one.aiocb.result.code() == Errc::io && one.aiocb.route == Route::issuer;
}

TEST_F(KernelFailure, ErrorIsHandledWhereAMutexMayBeTaken) {
  EXPECT_EXIT(run_watched(OldBehaviour::none, &handles_an_error_with_a_mutex), passes, "");
}
TEST_F(KernelFailure, ErrorHandledWhereTheBioEndedIsCaught) {
  EXPECT_EXIT(run_watched(OldBehaviour::error_inline, &handles_an_error_with_a_mutex), aborts,
              "device context locks no mutex");
}

// A request that was prepared as one with a handler, and is used again.
bool reuses_a_request() {
  auto issuer = make_issuer();
  FakeFile file;
  bool empty = true;
  file.on_start = [&](Kiocb& kiocb, IovView) -> Outcome {
    empty = empty && kiocb.dio_complete() == nullptr;
    kiocb.set_dio_complete([](Kiocb&) noexcept -> Outcome { return IoResult::success(1); });
    return IoResult::success(1);
  };
  TestAiocb aiocb;
  for (unsigned i = 0; i < 2; ++i) {
    aiocb.prepare_read_of(file);
    issuer->submit(aiocb);
    issuer->wait();
  }
  return empty;
}

TEST_F(KernelFailure, SlotOfAReusedRequestIsEmpty) {
  EXPECT_EXIT(run_watched(OldBehaviour::none, &reuses_a_request), passes, "");
}
TEST_F(KernelFailure, SlotOfAReusedRequestIsStaleIfItStays) {
  EXPECT_EXIT(run_watched(OldBehaviour::slot_stays, &reuses_a_request), fails, "");
}

// What another thread says between an issuer's last look and its sleep: that thread finds no
// sleeper, because there is none yet, and writes no wake-up.
bool sleeps_after_it_was_told() {
  struct News : IssuerWork {
    bool here = false;
  } news;
  news.run = [](IssuerWork& work) noexcept { static_cast<News&>(work).here = true; };
  auto issuer = make_issuer();
  unsigned looks = 0;
  issuer->impl().wait_until([&] {
    // The second look is the last one before the sleep.
    if (++looks == 2) std::thread([&] { issuer->post(news); }).join();
    return news.here;
  });
  return true;
}

TEST_F(KernelFailure, WakeUpIsNotLost) {
  EXPECT_EXIT(run_watched(OldBehaviour::none, &sleeps_after_it_was_told), passes, "");
}
TEST_F(KernelFailure, WakeUpIsLostWithoutALookBeforeTheSleep) {
  EXPECT_EXIT(run_watched(OldBehaviour::sleep_without_look, &sleeps_after_it_was_told), hangs, "");
}

}  // namespace
}  // namespace handback::testing
