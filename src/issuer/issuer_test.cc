// One thread: what is delivered, when, how often, in which context.
#include <handback/issuer.h>
#include <handback/memory_device.h>

#include <chrono>

#include "issuer/issuer_impl.h"
#include "issuer/issuer_test_support.h"

namespace handback::testing {
namespace {

// A File may set the slot of its request; a reused Aiocb must not bring it back.
Outcome stale_handler(Kiocb& /*kiocb*/) noexcept {
  return IoResult::success(1);
}

// --- preparing ---

TEST(Aiocb, IsPreparedAsADirectRequestOfAnIssuerThatCanRunHandedBackWork) {
  FakeFile file;
  AlignedBuffer buffer(4096);
  int context = 0;
  const auto callback = [](Aiocb&) noexcept {};
  Aiocb read;
  read.prepare_read(file, 8192, buffer.span(), callback, &context);
  EXPECT_EQ(read.ki_filp, &file);
  EXPECT_EQ(read.ki_pos, 8192U);
  EXPECT_EQ(to_string(read.ki_flags), "DIRECT|DIO_DEFER");
  EXPECT_EQ(read.context, &context);
  EXPECT_EQ(read.callback, static_cast<Aiocb::Callback>(callback));

  Aiocb write;
  write.prepare_write(file, 0, buffer.span(), KiocbFlags::dsync | KiocbFlags::nowait);
  EXPECT_EQ(to_string(write.ki_flags), "DSYNC|NOWAIT|DIRECT|WRITE|DIO_DEFER");
  EXPECT_EQ(write.callback, nullptr);
  // Prepared anew, nothing of the write is left.
  write.prepare_read(file, 0, buffer.span());
  EXPECT_EQ(to_string(write.ki_flags), "DIRECT|DIO_DEFER");
}

TEST(Aiocb, HandsItsSegmentsToTheFile) {
  const auto issuer = make_issuer();
  FakeFile file;
  AlignedBuffer buffer(8192);
  const iovec segments[] = {{buffer.data(), 512}, {buffer.data() + 4096, 1024}};
  std::vector<iovec> seen;
  file.on_start = [&](Kiocb&, IovView iov) {
    seen.assign(iov.segments, iov.segments + iov.count);
    return IoResult::success(static_cast<std::uint32_t>(iov.length()));
  };
  const auto expect_segments = [&](std::span<const iovec> expected) {
    ASSERT_EQ(seen.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(seen[i].iov_base, expected[i].iov_base);
      EXPECT_EQ(seen[i].iov_len, expected[i].iov_len);
    }
  };
  Aiocb aiocb;
  aiocb.prepare_read(file, 0, buffer.span());
  EXPECT_EQ(issuer->run(aiocb), IoResult::success(8192));
  const iovec whole{buffer.data(), 8192};
  expect_segments({&whole, 1});
  aiocb.prepare_write(file, 0, buffer.span().first(512));
  EXPECT_EQ(issuer->run(aiocb), IoResult::success(512));
  expect_segments({segments, 1});
  aiocb.prepare_readv(file, 0, IovView{segments, 2});
  EXPECT_EQ(issuer->run(aiocb), IoResult::success(1536));
  expect_segments(segments);
  aiocb.prepare_writev(file, 0, IovView{segments, 2}, KiocbFlags::dsync);
  EXPECT_EQ(issuer->run(aiocb), IoResult::success(1536));
  expect_segments(segments);
  EXPECT_EQ(file.reads, 2U);
  EXPECT_EQ(file.writes, 2U);
}

// --- submission ---

TEST(IssuerSubmit, NeverDeliversEvenWhatEndedAtOnce) {
  const auto issuer = make_issuer();
  FakeFile file;
  file.on_start = [](Kiocb&, IovView) { return IoResult::success(512); };
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  EXPECT_EQ(aiocb.delivered, 0U);
  EXPECT_EQ(issuer->in_flight(), 1U);
  issuer->kick();
  EXPECT_EQ(aiocb.delivered, 0U);
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(aiocb.delivered, 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(512));
  EXPECT_EQ(issuer->in_flight(), 0U);
  EXPECT_EQ(issuer->poll(), 0U);
  EXPECT_EQ(aiocb.delivered, 1U);
}

TEST(IssuerSubmit, TellsTheFileWhoseRequestItIs) {
  const auto issuer = make_issuer();
  FakeFile file;
  Issuer* seen = nullptr;
  bool sync = true;
  Context context = Context::device;
  file.on_start = [&](Kiocb& kiocb, IovView) {
    seen = kiocb.issuer;
    sync = kiocb.is_sync();
    context = current_context();
    return IoResult::success(0);
  };
  TestAiocb aiocb;
  aiocb.prepare_write_of(file);
  issuer->submit(aiocb);
  EXPECT_EQ(seen, issuer.get());
  EXPECT_FALSE(sync);
  EXPECT_EQ(context, Context::task);
  issuer->poll();
}

TEST(IssuerSubmit, RoutesWhatEndsAtOnceAsSubmitUnlessTheFileSaidOtherwise) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  const auto routed = [&](Outcome outcome, RouteDecision by_file) {
    file.on_start = [&, outcome, by_file](Kiocb& kiocb, IovView) {
      kiocb.route = by_file.route;
      kiocb.route_reason = by_file.reason;
      return outcome;
    };
    aiocb.prepare_read_of(file);
    issuer->submit(aiocb);
    issuer->poll();
    return RouteDecision{aiocb.route, aiocb.route_reason};
  };
  EXPECT_EQ(routed(IoResult::success(0), {}),
            (RouteDecision{Route::submit, RouteReason::submit_ended}));
  EXPECT_EQ(routed(IoResult::failure(Errc::invalid), {}),
            (RouteDecision{Route::submit, RouteReason::error}));
  const RouteDecision own{Route::submit, RouteReason::sync_caller};
  EXPECT_EQ(routed(IoResult::success(0), own), own);
}

TEST(IssuerSubmit, StartsAReusedAiocbWithAnEmptySlotAndNoRoute) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  file.on_start = [](Kiocb& kiocb, IovView) {
    kiocb.set_dio_complete(&stale_handler);
    kiocb.route = Route::inline_;
    kiocb.route_reason = RouteReason::read_ok;
    return IoResult::success(0);
  };
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  issuer->poll();
  EXPECT_EQ(aiocb.dio_complete(), &stale_handler);

  DioComplete slot = &stale_handler;
  Route route = Route::inline_;
  RouteReason reason = RouteReason::read_ok;
  file.on_start = [&](Kiocb& kiocb, IovView) {
    slot = kiocb.dio_complete();
    route = kiocb.route;
    reason = kiocb.route_reason;
    return IoResult::success(0);
  };
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  EXPECT_EQ(slot, nullptr);
  EXPECT_EQ(route, Route::none);
  EXPECT_EQ(reason, RouteReason::none);
  issuer->poll();
}

TEST(IssuerSubmitDeathTest, RefusesWhatIsNotPreparedOrInFlight) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  const char* const rule = "an Aiocb is prepared, and not in flight, when it is submitted";
  EXPECT_DEATH(issuer->submit(aiocb), rule);
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  EXPECT_DEATH(issuer->submit(aiocb), rule);
  EXPECT_DEATH(aiocb.prepare_read_of(file), "an Aiocb in flight is not prepared again");
  complete(aiocb, IoResult::success(0));
  issuer->poll();
}

TEST(IssuerDeathTest, DeliversARequestOnlyOnce) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  complete(aiocb, IoResult::success(0));
  issuer->poll();
  EXPECT_DEATH(
      {
        complete(aiocb, IoResult::success(0));
        issuer->poll();
      },
      "each request is delivered exactly once");
}

// --- delivery ---

TEST(IssuerDelivery, HappensInTheOrderInWhichRequestsEnded) {
  const auto issuer = make_issuer();
  FakeFile file;
  std::vector<unsigned> order;
  std::array<TestAiocb, 4> aiocbs;
  for (unsigned i = 0; i < aiocbs.size(); ++i) {
    aiocbs[i].on_delivered = [&order, i] { order.push_back(i); };
    aiocbs[i].prepare_read_of(file);
    issuer->submit(aiocbs[i]);
  }
  for (const unsigned i : {2U, 0U, 3U, 1U})
    complete(aiocbs[i], IoResult::success(i));
  EXPECT_EQ(issuer->poll(), 4U);
  EXPECT_EQ(order, (std::vector<unsigned>{2, 0, 3, 1}));
  for (unsigned i = 0; i < aiocbs.size(); ++i)
    EXPECT_EQ(aiocbs[i].result, IoResult::success(i));
}

TEST(IssuerDelivery, RunsCallbacksInTaskContextWithNothingOfTheRequestInFlight) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  Context context = Context::device;
  std::uint64_t in_flight = 1;
  IoResult result;
  aiocb.on_delivered = [&] {
    context = current_context();
    in_flight = issuer->in_flight();
    result = aiocb.result;
  };
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  complete(aiocb, IoResult::host_failure(EIO, 512));
  issuer->poll();
  EXPECT_EQ(context, Context::task);
  EXPECT_EQ(in_flight, 0U);
  EXPECT_EQ(result, IoResult::host_failure(EIO, 512));
}

// A request that ends at once and is submitted again by its own callback.
TEST(IssuerDelivery, DoesNotLetACallbackThatResubmitsKeepATurnGoing) {
  const auto issuer = make_issuer();
  FakeFile file;
  file.on_start = [](Kiocb&, IovView) { return IoResult::success(0); };
  TestAiocb busy;
  TestAiocb other;
  bool resubmit = true;
  busy.on_delivered = [&] {
    if (!resubmit) return;
    busy.prepare_read_of(file);
    issuer->submit(busy);
  };
  busy.prepare_read_of(file);
  issuer->submit(busy);
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(issuer->wait(), 1U);
  other.prepare_read_of(file);
  issuer->submit(other);
  EXPECT_EQ(issuer->poll(), 2U);
  EXPECT_EQ(other.delivered, 1U);
  EXPECT_EQ(busy.delivered, 4U);
  resubmit = false;
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(issuer->poll(), 0U);
  EXPECT_EQ(busy.delivered, 5U);
}

TEST(IssuerDelivery, LetsACallbackDestroyItsRequest) {
  const auto issuer = make_issuer();
  FakeFile file;
  std::array<std::unique_ptr<TestAiocb>, 3> aiocbs;
  unsigned destroyed = 0;
  for (auto& aiocb : aiocbs) {
    aiocb = std::make_unique<TestAiocb>();
    aiocb->on_delivered = [&aiocb, &destroyed] {
      aiocb.reset();
      ++destroyed;
    };
    aiocb->prepare_read_of(file);
    issuer->submit(*aiocb);
  }
  for (auto& aiocb : aiocbs)
    complete(*aiocb, IoResult::success(0));
  EXPECT_EQ(issuer->poll(), 3U);
  EXPECT_EQ(destroyed, 3U);
}

TEST(IssuerDelivery, LetsACallbackReuseItsRequestForSomethingElse) {
  const auto issuer = make_issuer();
  FakeFile first_file;
  FakeFile second_file;
  AlignedBuffer buffer(4096);
  TestAiocb aiocb;
  aiocb.on_delivered = [&] {
    if (aiocb.delivered > 1) return;
    aiocb.prepare_write_of(second_file, 4096, buffer.span());
    issuer->submit(aiocb);
  };
  aiocb.prepare_read_of(first_file);
  issuer->submit(aiocb);
  complete(aiocb, IoResult::success(1));
  EXPECT_EQ(issuer->poll(), 1U);
  ASSERT_EQ(second_file.writes, 1U);
  EXPECT_EQ(issuer->in_flight(), 1U);
  complete(aiocb, IoResult::success(2));
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(2));
}

TEST(IssuerDelivery, GoesOnOnlyAfterTheCallbackThatPolls) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb first;
  TestAiocb second;
  unsigned delivered_inside = 0;
  unsigned polled = 1;
  first.on_delivered = [&] {
    complete(second, IoResult::success(0));
    polled = issuer->poll();
    delivered_inside = second.delivered;
  };
  first.prepare_read_of(file);
  second.prepare_read_of(file);
  issuer->submit(first);
  issuer->submit(second);
  complete(first, IoResult::success(0));
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(polled, 0U);
  EXPECT_EQ(delivered_inside, 0U);
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(second.delivered, 1U);
}

TEST(IssuerDelivery, WorksWithoutACallback) {
  const auto issuer = make_issuer();
  FakeFile file;
  Aiocb aiocb;
  aiocb.prepare_read(file, 0, {});
  issuer->submit(aiocb);
  complete(aiocb, IoResult::success(3));
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(3));
}

// --- work that is handed back ---

// What handed-back handlers did; they are plain functions.
struct HandedBack {
  std::vector<Kiocb*> ran;
  std::vector<Context> contexts;
  std::function<Outcome(Kiocb&)> says;
} handed_back;

Outcome run_handed_back(Kiocb& kiocb) noexcept {
  handed_back.ran.push_back(&kiocb);
  handed_back.contexts.push_back(current_context());
  return handed_back.says(kiocb);
}

class IssuerHandBack : public ::testing::Test {
 protected:
  IssuerHandBack() {
    handed_back = {};
    handed_back.says = [](Kiocb&) -> Outcome { return IoResult::success(64); };
  }
  void submit(TestAiocb& aiocb) {
    aiocb.prepare_read_of(file_);
    issuer_->submit(aiocb);
  }
  static void hand_back(Kiocb& kiocb) {
    kiocb.set_dio_complete(&run_handed_back);
    complete(kiocb, NotFinal{});
  }

  std::unique_ptr<Issuer> issuer_ = make_issuer();
  FakeFile file_;
};

TEST_F(IssuerHandBack, RunsTheHandlerInIssuerContextAndDeliversWhatItReturns) {
  TestAiocb aiocb;
  submit(aiocb);
  hand_back(aiocb);
  EXPECT_TRUE(handed_back.ran.empty());
  EXPECT_EQ(issuer_->poll(), 1U);
  EXPECT_EQ(handed_back.ran, std::vector<Kiocb*>{&aiocb});
  EXPECT_EQ(handed_back.contexts, std::vector<Context>{Context::issuer});
  EXPECT_EQ(aiocb.delivered, 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(64));
}

TEST_F(IssuerHandBack, RunsNoHandlerInsideSubmit) {
  TestAiocb first;
  TestAiocb second;
  submit(first);
  hand_back(first);
  submit(second);
  EXPECT_TRUE(handed_back.ran.empty());
  complete(second, IoResult::success(0));
  EXPECT_EQ(issuer_->poll(), 2U);
}

TEST_F(IssuerHandBack, RunsHandlersInTheOrderTheyWereHandedBack) {
  std::array<TestAiocb, 3> aiocbs;
  for (auto& aiocb : aiocbs)
    submit(aiocb);
  hand_back(aiocbs[1]);
  hand_back(aiocbs[2]);
  hand_back(aiocbs[0]);
  EXPECT_EQ(issuer_->poll(), 3U);
  EXPECT_EQ(handed_back.ran, (std::vector<Kiocb*>{&aiocbs[1], &aiocbs[2], &aiocbs[0]}));
}

TEST_F(IssuerHandBack, WaitsForTheContinuationOfAHandlerThatSaysNotFinal) {
  handed_back.says = [](Kiocb&) -> Outcome { return NotFinal{}; };
  TestAiocb aiocb;
  submit(aiocb);
  hand_back(aiocb);
  EXPECT_EQ(issuer_->poll(), 0U);
  EXPECT_EQ(handed_back.ran.size(), 1U);
  EXPECT_EQ(issuer_->poll(), 0U);
  EXPECT_EQ(handed_back.ran.size(), 1U);
  EXPECT_EQ(issuer_->in_flight(), 1U);
  complete(aiocb, IoResult::failure(Errc::no_space));
  EXPECT_EQ(issuer_->poll(), 1U);
  EXPECT_EQ(aiocb.delivered, 1U);
  EXPECT_EQ(aiocb.result, IoResult::failure(Errc::no_space));
}

TEST_F(IssuerHandBack, LetsAHandlerSubmitAndHandBackMore) {
  TestAiocb first;
  TestAiocb second;
  handed_back.says = [&](Kiocb& kiocb) -> Outcome {
    if (&kiocb == &first) {
      submit(second);
      hand_back(second);
    }
    return IoResult::success(1);
  };
  submit(first);
  hand_back(first);
  while (issuer_->in_flight() != 0)
    issuer_->poll();
  EXPECT_EQ(handed_back.ran, (std::vector<Kiocb*>{&first, &second}));
  EXPECT_EQ(second.delivered, 1U);
}

using IssuerHandBackDeathTest = IssuerHandBack;

TEST_F(IssuerHandBackDeathTest, NeedsAHandler) {
  TestAiocb aiocb;
  submit(aiocb);
  EXPECT_DEATH(
      {
        complete(aiocb, NotFinal{});
        issuer_->poll();
      },
      "a request that is handed back carries its handler");
  complete(aiocb, IoResult::success(0));
  issuer_->poll();
}

TEST_F(IssuerHandBackDeathTest, DoesNotLetAHandlerWait) {
  TestAiocb aiocb;
  TestAiocb other;
  submit(aiocb);
  hand_back(aiocb);
  const char* const rule = "only task and worker context wait for I/O";
  handed_back.says = [&](Kiocb&) -> Outcome {
    issuer_->wait(0);
    return IoResult::success(0);
  };
  EXPECT_DEATH(issuer_->poll(), rule);
  handed_back.says = [&](Kiocb&) -> Outcome {
    issuer_->impl().wait_until([] { return true; });
    return IoResult::success(0);
  };
  EXPECT_DEATH(issuer_->poll(), rule);
  handed_back.says = [&](Kiocb&) -> Outcome {
    other.prepare_read_of(file_);
    static_cast<void>(issuer_->run(other));
    return IoResult::success(0);
  };
  EXPECT_DEATH(issuer_->poll(), rule);
  handed_back.says = [](Kiocb&) -> Outcome { return IoResult::success(0); };
  issuer_->poll();
}

// --- the blocking call ---

TEST(IssuerRun, ReturnsTheResultAfterTheCallback) {
  const auto issuer = make_issuer();
  FakeFile file;
  file.on_start = [](Kiocb&, IovView) { return IoResult::success(7); };
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  EXPECT_EQ(issuer->run(aiocb), IoResult::success(7));
  EXPECT_EQ(aiocb.delivered, 1U);
}

TEST(IssuerRun, BlocksUntilItsOwnRequestEndedAndDeliversOthersMeanwhile) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb other;
  other.prepare_read_of(file);
  issuer->submit(other);
  TestAiocb aiocb;
  other.on_delivered = [&] { complete(aiocb, IoResult::success(2)); };
  file.on_start = [&](Kiocb&, IovView) -> Outcome {
    complete(other, IoResult::success(1));
    return NotFinal{};
  };
  aiocb.prepare_read_of(file);
  EXPECT_EQ(issuer->run(aiocb), IoResult::success(2));
  EXPECT_EQ(other.delivered, 1U);
}

// Reads with a bio of its own.
struct OneBioFile : File {
  explicit OneBioFile(BlockDevice& on) : device(on) {}
  Outcome read_iter(Kiocb& kiocb, IovView to) noexcept override {
    bio.op = BioOp::read;
    bio.add_segment(to.segments[0].iov_base, to.segments[0].iov_len);
    bio.private_ = &kiocb;
    bio.end_io = [](Bio& ended) noexcept {
      complete(*static_cast<Kiocb*>(ended.private_), ended.result);
    };
    kiocb.issuer->impl().queue_for(device)->submit(&bio);
    return NotFinal{};
  }
  Outcome write_iter(Kiocb& /*kiocb*/, IovView /*from*/) noexcept override {
    return IoResult::failure(Errc::read_only);
  }
  BlockDevice& device;
  Bio bio;
};

TEST(IssuerRun, CarriesOutRealIo) {
  const auto device = make_memory_device();
  const auto issuer = make_issuer();
  OneBioFile file(*device);
  AlignedBuffer buffer(4096);
  Aiocb aiocb;
  aiocb.prepare_read(file, 0, buffer.span());
  EXPECT_EQ(issuer->run(aiocb), IoResult::success(4096));
}

TEST(IssuerRunDeathTest, IsRefusedInACallback) {
  const auto issuer = make_issuer();
  FakeFile file;
  file.on_start = [](Kiocb&, IovView) { return IoResult::success(0); };
  TestAiocb inner;
  TestAiocb outer;
  inner.prepare_read_of(file);
  outer.on_delivered = [&] { static_cast<void>(issuer->run(inner)); };
  outer.prepare_read_of(file);
  issuer->submit(outer);
  EXPECT_DEATH(issuer->poll(), "a callback may not block; submit and return instead");
  outer.on_delivered = nullptr;
  issuer->poll();
}

// --- waiting ---

TEST(IssuerWait, ReturnsAtOnceWhenNothingIsInFlight) {
  const auto issuer = make_issuer();
  EXPECT_EQ(issuer->wait(), 0U);
  EXPECT_EQ(issuer->wait(0), 0U);
  EXPECT_EQ(issuer->stats().sleeps, 0U);
}

TEST(IssuerWait, WithNoTimeLeftLooksOnceWithoutSleeping) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  EXPECT_EQ(issuer->wait(0), 0U);
  EXPECT_EQ(issuer->stats().sleeps, 0U);
  complete(aiocb, IoResult::success(0));
  EXPECT_EQ(issuer->wait(0), 1U);
}

TEST(IssuerWait, ReturnsZeroNotBeforeItsTimeIsOver) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  constexpr std::chrono::nanoseconds timeout = std::chrono::milliseconds(5);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(issuer->wait(timeout.count()), 0U);
  EXPECT_GE(std::chrono::steady_clock::now() - start, timeout);
  EXPECT_EQ(aiocb.delivered, 0U);
  EXPECT_GE(issuer->stats().sleeps, 1U);
  complete(aiocb, IoResult::success(0));
  EXPECT_EQ(issuer->wait(timeout.count()), 1U);
}

TEST(IssuerWaitDeathTest, IsRefusedInACallback) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb first;
  TestAiocb second;
  first.prepare_read_of(file);
  second.prepare_read_of(file);
  issuer->submit(first);
  issuer->submit(second);
  complete(first, IoResult::success(0));
  first.on_delivered = [&] { issuer->wait(0); };
  EXPECT_DEATH(issuer->poll(), "a callback may not block");
  first.on_delivered = nullptr;
  complete(second, IoResult::success(0));
  issuer->poll();
}

TEST(IssuerWait, RunsPostedWorkWhileARequestIsInFlight) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  struct Work : IssuerWork {
    Kiocb* kiocb = nullptr;
  } work;
  work.kiocb = &aiocb;
  work.run = [](IssuerWork& self) noexcept {
    complete(*static_cast<Work&>(self).kiocb, IoResult::success(9));
  };
  issuer->post(work);
  EXPECT_EQ(issuer->wait(), 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(9));
}

// --- posted work ---

struct RecordedWork : IssuerWork {
  RecordedWork() {
    run = [](IssuerWork& work) noexcept {
      auto& self = static_cast<RecordedWork&>(work);
      ++self.runs;
      self.context = current_context();
      if (self.then) self.then();
    };
  }
  unsigned runs = 0;
  Context context = Context::task;
  std::function<void()> then;
};

TEST(IssuerPost, RunsWorkOnceAndInOrderInIssuerContext) {
  const auto issuer = make_issuer();
  std::vector<int> order;
  std::array<RecordedWork, 3> works;
  for (int i = 0; i < 3; ++i) {
    works[static_cast<std::size_t>(i)].then = [&order, i] { order.push_back(i); };
    issuer->post(works[static_cast<std::size_t>(i)]);
  }
  EXPECT_TRUE(order.empty());
  EXPECT_EQ(issuer->poll(), 0U);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
  for (const auto& work : works) {
    EXPECT_EQ(work.runs, 1U);
    EXPECT_EQ(work.context, Context::issuer);
  }
  issuer->poll();
  EXPECT_EQ(order.size(), 3U);
}

TEST(IssuerPost, LetsWorkPostItselfAgainWithoutKeepingATurnGoing) {
  const auto issuer = make_issuer();
  RecordedWork work;
  work.then = [&] {
    if (work.runs < 3) issuer->post(work);
  };
  issuer->post(work);
  for (unsigned turn = 1; turn <= 3; ++turn) {
    issuer->poll();
    EXPECT_EQ(work.runs, turn);
  }
  issuer->poll();
  EXPECT_EQ(work.runs, 3U);
}

TEST(IssuerPost, IsRunByWaitEvenWithNothingInFlight) {
  const auto issuer = make_issuer();
  RecordedWork work;
  issuer->post(work);
  EXPECT_EQ(issuer->wait(), 0U);
  EXPECT_EQ(work.runs, 1U);
}

// --- the one wait of the library ---

TEST(IssuerWaitUntil, SettlesButNeverDelivers) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  handed_back = {};
  handed_back.says = [](Kiocb&) -> Outcome { return IoResult::success(5); };
  aiocb.set_dio_complete(&run_handed_back);
  complete(aiocb, NotFinal{});
  issuer->impl().wait_until([] { return !handed_back.ran.empty(); });
  EXPECT_EQ(aiocb.delivered, 0U);
  EXPECT_EQ(issuer->in_flight(), 1U);
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(5));
}

TEST(IssuerWaitUntil, IsOverAtOnceIfItIsTrueAlready) {
  const auto issuer = make_issuer();
  RecordedWork work;
  issuer->post(work);
  issuer->impl().wait_until([] { return true; });
  EXPECT_EQ(work.runs, 0U);
  issuer->poll();
}

// --- hooks ---

struct CountedHook : PollHook {
  std::int64_t run(Issuer& with, std::uint64_t now_ns) noexcept override {
    ++runs;
    issuer = &with;
    context = current_context();
    last_ns = now_ns;
    return says ? says() : std::numeric_limits<std::int64_t>::max();
  }
  unsigned runs = 0;
  Issuer* issuer = nullptr;
  Context context = Context::task;
  std::uint64_t last_ns = 0;
  std::function<std::int64_t()> says;
};

TEST(IssuerHook, LooksAtTheClockWheneverTheIssuerPolls) {
  const auto issuer = make_issuer();
  const auto hook = std::make_shared<CountedHook>();
  issuer->impl().add_hook(hook);
  const std::uint64_t before_ns = system_environment().monotonic_ns();
  issuer->poll();
  issuer->poll();
  EXPECT_EQ(hook->runs, 2U);
  EXPECT_EQ(hook->issuer, issuer.get());
  EXPECT_EQ(hook->context, Context::issuer);
  EXPECT_GE(hook->last_ns, before_ns);
}

TEST(IssuerHook, IsNotRunWhileItIsIdle) {
  const auto issuer = make_issuer();
  const auto hook = std::make_shared<CountedHook>();
  const auto busy = std::make_shared<CountedHook>();
  issuer->impl().add_hook(hook);
  issuer->impl().add_hook(busy);
  hook->set_idle(true);
  issuer->poll();
  EXPECT_EQ(hook->runs, 0U);
  EXPECT_EQ(busy->runs, 1U);
  busy->set_idle(true);
  issuer->poll();
  EXPECT_EQ(busy->runs, 1U);
  hook->set_idle(false);
  issuer->poll();
  EXPECT_EQ(hook->runs, 1U);
  EXPECT_EQ(busy->runs, 1U);
}

TEST(IssuerHook, IsDroppedOnceItSaysThatItHasGone) {
  const auto issuer = make_issuer();
  const auto hook = std::make_shared<CountedHook>();
  const auto stays = std::make_shared<CountedHook>();
  hook->says = [] { return -1; };
  issuer->impl().add_hook(hook);
  issuer->impl().add_hook(stays);
  issuer->poll();
  issuer->poll();
  EXPECT_EQ(hook->runs, 1U);
  EXPECT_EQ(hook.use_count(), 1);
  EXPECT_EQ(stays->runs, 2U);
}

// Nothing but the hook ends this wait: a sleep without its time would last for ever.
TEST(IssuerHook, EndsASleepWhenItIsDue) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  RecordedWork work;
  work.then = [&] { complete(aiocb, IoResult::success(0)); };
  const auto hook = std::make_shared<CountedHook>();
  hook->says = [&]() -> std::int64_t {
    if (hook->runs < 3) return 1'000'000;
    if (hook->runs == 3) issuer->post(work);
    return std::numeric_limits<std::int64_t>::max();
  };
  issuer->impl().add_hook(hook);
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  EXPECT_EQ(issuer->wait(), 1U);
  EXPECT_GE(hook->runs, 3U);
}

// As a commit does that fails at once. The time only keeps the test from sleeping for ever.
TEST(IssuerHook, MayEndARequestWhichIsThenDeliveredWithoutASleep) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  const auto hook = std::make_shared<CountedHook>();
  hook->says = [&]() -> std::int64_t {
    if (hook->runs == 1) complete(aiocb, IoResult::failure(Errc::poisoned));
    return std::numeric_limits<std::int64_t>::max();
  };
  issuer->impl().add_hook(hook);
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  EXPECT_EQ(issuer->wait(20'000'000), 1U);
  EXPECT_EQ(aiocb.result, IoResult::failure(Errc::poisoned));
  EXPECT_EQ(issuer->stats().sleeps, 0U);
}

// --- background work ---

TEST(IssuerBackground, KeepsWaitGoingUntilItEnds) {
  const auto issuer = make_issuer();
  RecordedWork work;
  work.then = [&] { issuer->impl().end_background(); };
  issuer->impl().begin_background();
  issuer->post(work);
  EXPECT_EQ(issuer->wait(), 0U);
  EXPECT_EQ(work.runs, 1U);
}

TEST(IssuerBackgroundDeathTest, DoesNotEndMoreOftenThanItBegan) {
  const auto issuer = make_issuer();
  EXPECT_DEATH(issuer->impl().end_background(), "background work that ends was begun");
}

// --- the end of an issuer ---

TEST(IssuerEnd, DeliversWhatHadEndedAndWasNotDelivered) {
  auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  complete(aiocb, IoResult::success(4));
  issuer.reset();
  EXPECT_EQ(aiocb.delivered, 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(4));
}

TEST(IssuerEnd, RunsHandedBackAndPostedWork) {
  auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  RecordedWork work;
  handed_back = {};
  handed_back.says = [](Kiocb&) -> Outcome { return IoResult::success(6); };
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  aiocb.set_dio_complete(&run_handed_back);
  complete(aiocb, NotFinal{});
  issuer->post(work);
  issuer.reset();
  EXPECT_EQ(aiocb.delivered, 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(6));
  EXPECT_EQ(work.runs, 1U);
}

TEST(IssuerEnd, SeesThroughWhatItsLastCallbacksSubmit) {
  auto issuer = make_issuer();
  FakeFile file;
  file.on_start = [](Kiocb&, IovView) { return IoResult::success(0); };
  TestAiocb aiocb;
  aiocb.on_delivered = [&] {
    if (aiocb.delivered == 5) return;
    aiocb.prepare_read_of(file);
    issuer->submit(aiocb);
  };
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  // In one piece: reset() would take the pointer away from the callback.
  issuer->poll();
  Issuer* const last = issuer.release();
  aiocb.on_delivered = [&aiocb, &file, last] {
    if (aiocb.delivered == 5) return;
    aiocb.prepare_read_of(file);
    last->submit(aiocb);
  };
  delete last;
  EXPECT_EQ(aiocb.delivered, 5U);
}

TEST(IssuerEnd, RunsWhatItsLastCallbacksPost) {
  Issuer* const issuer = make_issuer().release();
  FakeFile file;
  TestAiocb aiocb;
  RecordedWork work;
  aiocb.on_delivered = [&] { issuer->post(work); };
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  complete(aiocb, IoResult::success(0));
  delete issuer;
  EXPECT_EQ(aiocb.delivered, 1U);
  EXPECT_EQ(work.runs, 1U);
}

TEST(IssuerEnd, WaitsForBackgroundWork) {
  auto issuer = make_issuer();
  Issuer::Impl& impl = issuer->impl();
  RecordedWork first;
  RecordedWork second;
  first.then = [&] { impl.post(second); };
  second.then = [&] { impl.end_background(); };
  impl.begin_background();
  impl.post(first);
  issuer.reset();
  EXPECT_EQ(second.runs, 1U);
}

TEST(Issuer, SharesAThreadWithOthersEachWithItsOwnRequests) {
  const auto first = make_issuer();
  const auto second = make_issuer();
  FakeFile file;
  TestAiocb of_first;
  TestAiocb of_second;
  of_first.prepare_read_of(file);
  of_second.prepare_read_of(file);
  first->submit(of_first);
  second->submit(of_second);
  complete(of_first, IoResult::success(1));
  complete(of_second, IoResult::success(2));
  EXPECT_EQ(second->poll(), 1U);
  EXPECT_EQ(of_first.delivered, 0U);
  EXPECT_EQ(of_second.delivered, 1U);
  EXPECT_EQ(first->poll(), 1U);
  EXPECT_EQ(of_first.delivered, 1U);
}

TEST(Issuer, RefusesANudgeThatCannotBeCaught) {
  for (const int signal : {SIGKILL, SIGSTOP, -1, 4711}) {
    const auto refused = Issuer::create({.nudge_signal = signal});
    ASSERT_FALSE(refused) << signal;
    EXPECT_EQ(refused.error().code(), Errc::invalid) << signal;
  }
}

}  // namespace
}  // namespace handback::testing
