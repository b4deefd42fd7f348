// end_io and write_sync that say NotFinal: who goes on, and when.
#include <thread>

#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

// Where dio_end_pending() is called from, and when, seen from the file's call.
enum class Ends : std::uint8_t {
  inside,          // Before the file returned, on the issuer's thread.
  inside_foreign,  // Before the file returned, on another thread.
  later,           // After it returned, on the issuer's thread.
  later_foreign,   // After it returned, on another thread.
};
enum class Stage : std::uint8_t { end_io, write_sync };

using ContinuationCase = std::tuple<Stage, Ends>;

class DioContinuation : public ::testing::TestWithParam<ContinuationCase> {
 protected:
  DioContinuation() {
    rig_.file.map(0, 16384, 0, IomapType::unwritten);
    const auto file_says = [this](Kiocb& kiocb, const DioEnd&) -> Outcome {
      ++asked_;
      pending_ = &kiocb;
      if (ends() == Ends::inside) end_pending();
      if (ends() == Ends::inside_foreign) std::thread([this] { end_pending(); }).join();
      return NotFinal{};
    };
    if (stage() == Stage::end_io) {
      rig_.file.on_end_io = file_says;
    } else {
      rig_.file.on_write_sync = file_says;
    }
  }
  static Stage stage() { return std::get<0>(GetParam()); }
  static Ends ends() { return std::get<1>(GetParam()); }

  void end_pending() { dio_end_pending(*std::exchange(pending_, nullptr), says_); }

  // Polls until the file was asked and, where that is the test's part, ends what is pending.
  void go_on() {
    while (asked_ == 0)
      rig_.issuer->poll();
    if (ends() == Ends::later) {
      EXPECT_EQ(rig_.issuer->poll(), 0U);
      EXPECT_EQ(rig_.issuer->in_flight(), 1U);
      end_pending();
    } else if (ends() == Ends::later_foreign) {
      EXPECT_EQ(rig_.issuer->poll(), 0U);
      EXPECT_EQ(rig_.issuer->in_flight(), 1U);
      std::thread([this] { end_pending(); }).join();
    }
  }

  FakeRig rig_;
  AlignedBuffer buffer_ = random_buffer(4096, 1);
  IoResult says_ = IoResult::success(4096);
  unsigned asked_ = 0;
  Kiocb* pending_ = nullptr;
};

TEST_P(DioContinuation, OfAHandedBackWriteGivesItsResultOnce) {
  for (const IoResult result :
       {IoResult::success(4096), IoResult::success(512), IoResult::failure(Errc::poisoned)}) {
    SCOPED_TRACE(describe(result));
    says_ = result;
    asked_ = 0;
    TestAiocb aiocb;
    aiocb.prepare_write_of(rig_.file, 0, buffer_.span(), KiocbFlags::dsync);
    rig_.issuer->submit(aiocb);
    EXPECT_EQ(asked_, 0U);
    go_on();
    while (rig_.issuer->in_flight() != 0)
      rig_.issuer->wait();
    EXPECT_EQ(asked_, 1U);
    EXPECT_EQ(aiocb.delivered, 1U);
    EXPECT_EQ(aiocb.result, result);
    EXPECT_EQ(aiocb.private_, nullptr);
    EXPECT_EQ(rig_.file.inflight.count(), 0U);
    // The first was an extension into unwritten blocks, the others find the file as it left it.
    EXPECT_EQ(aiocb.route, Route::issuer);
    rig_.file.map(0, 16384, 0, IomapType::unwritten);
    rig_.file.size = 0;
  }
  EXPECT_EQ(rig_.file.ended.size(), 3U);
  // After an end_io that failed, nothing is synced.
  EXPECT_EQ(rig_.file.synced.size(), stage() == Stage::end_io ? 2U : 3U);
}

// Whatever ends the first stage, the second runs where it may submit: on the request's own issuer.
TEST_P(DioContinuation, LeavesTheNextStageToTheIssuersThread) {
  TestAiocb aiocb;
  aiocb.prepare_write_of(rig_.file, 0, buffer_.span(), KiocbFlags::dsync);
  rig_.issuer->submit(aiocb);
  go_on();
  while (rig_.issuer->in_flight() != 0)
    rig_.issuer->wait();
  ASSERT_EQ(rig_.file.synced.size(), 1U);
  EXPECT_EQ(rig_.file.synced[0].thread, std::this_thread::get_id());
  EXPECT_NE(rig_.file.synced[0].context, Context::device);
}

// The request ends within its submission (it needs no I/O), so the file is called from task
// context.
class DioContinuationWithoutIo : public DioContinuation {};

TEST_P(DioContinuationWithoutIo, IsWaitedForAfterSubmission) {
  rig_.file.size = 4096;
  rig_.file.blocks.clear();
  says_ = IoResult::success(77);
  TestAiocb aiocb;
  aiocb.prepare_read_of(rig_.file, 0, buffer_.span());
  rig_.issuer->submit(aiocb);
  EXPECT_EQ(asked_, 1U);
  EXPECT_EQ(aiocb.delivered, 0U);
  go_on();
  while (rig_.issuer->in_flight() != 0)
    rig_.issuer->wait();
  EXPECT_EQ(aiocb.delivered, 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(77));
  EXPECT_EQ(aiocb.route, Route::submit);
}

std::string continuation_name(const ::testing::TestParamInfo<ContinuationCase>& of) {
  constexpr std::array<const char*, 2> stages = {"EndIo", "WriteSync"};
  constexpr std::array<const char*, 4> ends = {"Inside", "InsideForeign", "Later", "LaterForeign"};
  const auto [stage, end] = of.param;
  return std::string(stages[static_cast<unsigned>(stage)]) + ends[static_cast<unsigned>(end)];
}

INSTANTIATE_TEST_SUITE_P(Dio, DioContinuation,
                         ::testing::Combine(::testing::Values(Stage::end_io, Stage::write_sync),
                                            ::testing::Values(Ends::inside, Ends::inside_foreign,
                                                              Ends::later, Ends::later_foreign)),
                         continuation_name);

// Without I/O there is nothing to sync.
INSTANTIATE_TEST_SUITE_P(Dio, DioContinuationWithoutIo,
                         ::testing::Combine(::testing::Values(Stage::end_io),
                                            ::testing::Values(Ends::inside, Ends::inside_foreign,
                                                              Ends::later, Ends::later_foreign)),
                         continuation_name);

// --- a synchronous caller waits for it ---

struct PostedEnd : IssuerWork {
  Kiocb* kiocb = nullptr;
  PostedEnd() {
    run = [](IssuerWork& work) noexcept {
      dio_end_pending(*static_cast<PostedEnd&>(work).kiocb, IoResult::success(9));
    };
  }
};

class DioContinuationOfAWaiter : public ::testing::Test {
 protected:
  DioContinuationOfAWaiter() { rig_.file.map(0, 16384, 0, IomapType::unwritten); }
  FakeRig rig_;
  AlignedBuffer buffer_ = random_buffer(4096, 2);
};

TEST_F(DioContinuationOfAWaiter, MayEndThroughWorkOfItsOwnIssuer) {
  PostedEnd end;
  rig_.file.on_end_io = [&](Kiocb& kiocb, const DioEnd&) -> Outcome {
    end.kiocb = &kiocb;
    kiocb.issuer->post(end);
    return NotFinal{};
  };
  EXPECT_EQ(rig_.write_sync_caller(0, buffer_.span()), IoResult::success(9));
  EXPECT_EQ(rig_.file.ended.size(), 1U);
}

TEST_F(DioContinuationOfAWaiter, MayEndBeforeTheFileReturns) {
  rig_.file.on_end_io = [](Kiocb& kiocb, const DioEnd&) -> Outcome {
    dio_end_pending(kiocb, IoResult::success(3));
    return NotFinal{};
  };
  rig_.file.on_write_sync = [](Kiocb& kiocb, const DioEnd&) -> Outcome {
    dio_end_pending(kiocb, IoResult::success(4));
    return NotFinal{};
  };
  EXPECT_EQ(rig_.write_sync_caller(0, buffer_.span(), KiocbFlags::dsync), IoResult::success(4));
  EXPECT_EQ(rig_.file.synced.size(), 1U);
}

TEST_F(DioContinuationOfAWaiter, MayEndOnAnotherThreadAtAnyTime) {
  std::thread other;
  const auto end_elsewhere = [&](Kiocb& kiocb, const DioEnd&) -> Outcome {
    if (other.joinable()) other.join();
    other = std::thread([&kiocb] { dio_end_pending(kiocb, IoResult::success(5)); });
    return NotFinal{};
  };
  rig_.file.on_end_io = end_elsewhere;
  rig_.file.on_write_sync = end_elsewhere;
  for (int round = 0; round < 100; ++round) {
    rig_.file.map(0, 16384, 0, IomapType::unwritten);
    ASSERT_EQ(rig_.write_sync_caller(0, buffer_.span(), KiocbFlags::dsync), IoResult::success(5));
  }
  other.join();
  EXPECT_EQ(rig_.file.ended.size(), 100U);
  EXPECT_EQ(rig_.file.synced.size(), 100U);
}

// The two sides race for who goes on: exactly one does.
TEST(DioContinuationRace, EndsEachRequestOnceWhoeverComesSecond) {
  constexpr unsigned rounds = 1'000;
  FakeRig rig;
  rig.file.recording = false;
  std::atomic<Kiocb*> pending{nullptr};
  std::atomic<bool> stop{false};
  const auto hand_over = [&](Kiocb& kiocb, const DioEnd&) -> Outcome {
    pending.store(&kiocb, std::memory_order_release);
    return NotFinal{};
  };
  rig.file.on_end_io = hand_over;
  rig.file.on_write_sync = hand_over;
  std::thread other([&] {
    while (!stop.load(std::memory_order_relaxed)) {
      Kiocb* const kiocb = pending.exchange(nullptr, std::memory_order_acquire);
      if (kiocb != nullptr) {
        dio_end_pending(*kiocb, IoResult::success(6));
      } else {
        std::this_thread::yield();
      }
    }
  });
  const AlignedBuffer data = random_buffer(4096, 3);
  for (unsigned round = 0; round < rounds; ++round) {
    rig.file.map(0, 4096, 0, IomapType::unwritten);
    TestAiocb aiocb;
    aiocb.prepare_write_of(rig.file, 0, data.span(), KiocbFlags::dsync);
    rig.issuer->submit(aiocb);
    while (rig.issuer->in_flight() != 0)
      rig.issuer->wait();
    ASSERT_EQ(aiocb.delivered, 1U);
    ASSERT_EQ(aiocb.result, IoResult::success(6));
    ASSERT_EQ(rig.file.inflight.count(), 0U);
  }
  stop.store(true);
  other.join();
}

}  // namespace
}  // namespace handback::testing
