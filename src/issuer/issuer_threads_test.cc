// Other threads: who may use an issuer, and how they reach it. A lost wake-up hangs these tests.
#include <atomic>
#include <thread>

#include "issuer/issuer_impl.h"
#include "issuer/issuer_test_support.h"

namespace handback::testing {
namespace {

// --- who may use it ---

using IssuerThreadsDeathTest = ThreadedDeathTest;

TEST_F(IssuerThreadsDeathTest, UsesAnIssuerOnlyOnTheThreadThatCreatedIt) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  const std::vector<std::function<void()>> uses = {
      [&] { issuer->submit(aiocb); },
      [&] { issuer->poll(); },
      [&] { issuer->wait(0); },
      [&] { static_cast<void>(issuer->run(aiocb)); },
      [&] { issuer->kick(); },
      [&] { issuer->settle_until([] { return false; }); },
      [&] { issuer->register_buffer({}); },
      [&] { issuer->unregister_buffer({}); },
  };
  for (const auto& use : uses) {
    EXPECT_DEATH(std::thread(use).join(), "an issuer is used only by the thread that created it");
  }
}

// --- a condition of a file's own ---

TEST(IssuerThreads, SettlesUntilAConditionHoldsAndDeliversNothing) {
  const auto issuer = make_issuer();
  FakeFile file;
  file.on_start = [](Kiocb&, IovView) -> Outcome { return IoResult::success(1); };
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  struct News : IssuerWork {
    bool here = false;
  } news;
  news.run = [](IssuerWork& work) noexcept { static_cast<News&>(work).here = true; };
  std::thread other([&] { issuer->post(news); });
  issuer->settle_until([&] { return news.here; });
  EXPECT_TRUE(news.here);
  EXPECT_EQ(aiocb.delivered, 0U);
  other.join();
  EXPECT_EQ(issuer->wait(), 1U);
}

TEST_F(IssuerThreadsDeathTest, IsNotDestroyedByAnotherThread) {
  EXPECT_DEATH(
      {
        auto issuer = make_issuer();
        std::thread([&] { issuer.reset(); }).join();
      },
      "an issuer is used only by the thread that created it");
}

// --- completions from other threads ---

Outcome handed_back_on(Kiocb& kiocb) noexcept {
  const bool right = kiocb.issuer->impl().on_owner_thread() && current_context() == Context::issuer;
  return right ? IoResult::success(77) : IoResult::failure(Errc::invalid);
}

TEST(IssuerForeignCompletion, IsDeliveredOnTheIssuingThread) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  std::thread::id delivered_on;
  aiocb.on_delivered = [&] { delivered_on = std::this_thread::get_id(); };
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  std::thread([&] { complete(aiocb, IoResult::host_failure(EIO, 512)); }).join();
  EXPECT_EQ(aiocb.delivered, 0U);
  EXPECT_EQ(issuer->poll(), 1U);
  EXPECT_EQ(delivered_on, std::this_thread::get_id());
  EXPECT_EQ(aiocb.result, IoResult::host_failure(EIO, 512));
  EXPECT_EQ(issuer->stats().foreign, 1U);
}

TEST(IssuerForeignCompletion, ThatIsHandedBackRunsItsHandlerOnTheIssuingThread) {
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  std::thread([&] {
    aiocb.set_dio_complete(&handed_back_on);
    complete(aiocb, NotFinal{});
  }).join();
  EXPECT_EQ(issuer->wait(), 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(77));
  EXPECT_EQ(issuer->stats().foreign, 1U);
}

TEST(IssuerForeignCompletion, IsDeliveredInTheOrderOfItsThread) {
  constexpr unsigned count = 50;
  const auto issuer = make_issuer();
  FakeFile file;
  std::vector<TestAiocb> aiocbs(count);
  std::vector<unsigned> order;
  for (unsigned i = 0; i < count; ++i) {
    aiocbs[i].on_delivered = [&order, i] { order.push_back(i); };
    aiocbs[i].prepare_read_of(file);
    issuer->submit(aiocbs[i]);
  }
  std::thread other([&] {
    for (unsigned i = count; i-- != 0;)
      complete(aiocbs[i], IoResult::success(0));
  });
  while (issuer->in_flight() != 0)
    issuer->wait();
  other.join();
  ASSERT_EQ(order.size(), count);
  for (unsigned i = 0; i < count; ++i)
    EXPECT_EQ(order[i], count - 1 - i);
}

// Each request ends on one of several threads, handed back or final, is submitted again, and so on.
TEST(IssuerForeignCompletion, ArrivesExactlyOnceFromManyThreads) {
  constexpr unsigned thread_count = 3;
  constexpr unsigned per_thread = 16;
  constexpr unsigned rounds = 200;
  const auto issuer = make_issuer();
  FakeFile file;
  struct Lane {
    SharedInbox<Kiocb> to_end;
    std::thread thread;
  };
  std::vector<Lane> lanes(thread_count);
  std::atomic<bool> stop{false};
  for (Lane& lane : lanes) {
    lane.thread = std::thread([&lane, &stop] {
      std::uint32_t turn = 0;
      while (!stop.load()) {
        LocalQueue<Kiocb> batch = lane.to_end.take();
        if (batch.empty()) std::this_thread::yield();
        while (!batch.empty()) {
          Kiocb& kiocb = batch.pop();
          if (++turn % 2 == 0) {
            kiocb.set_dio_complete(&handed_back_on);
            complete(kiocb, NotFinal{});
          } else {
            complete(kiocb, IoResult::success(77));
          }
        }
      }
    });
  }
  std::vector<TestAiocb> aiocbs(thread_count * per_thread);
  unsigned wrong = 0;
  for (unsigned i = 0; i < aiocbs.size(); ++i) {
    TestAiocb& aiocb = aiocbs[i];
    Lane& lane = lanes[i % thread_count];
    const auto start = [&] {
      aiocb.prepare_read_of(file);
      issuer->submit(aiocb);
      lane.to_end.push(aiocb);
    };
    aiocb.on_delivered = [&, start] {
      if (aiocb.result != IoResult::success(77)) ++wrong;
      if (aiocb.delivered < rounds) start();
    };
    start();
  }
  while (issuer->in_flight() != 0)
    issuer->wait();
  stop.store(true);
  for (Lane& lane : lanes)
    lane.thread.join();
  EXPECT_EQ(wrong, 0U);
  for (const TestAiocb& aiocb : aiocbs)
    EXPECT_EQ(aiocb.delivered, rounds);
  EXPECT_EQ(issuer->stats().foreign, std::uint64_t{thread_count} * per_thread * rounds);
}

// --- posts from other threads ---

struct NumberedWork : IssuerWork {
  std::function<void(unsigned)>* on_run = nullptr;
  unsigned number = 0;
};

void run_numbered(IssuerWork& work) noexcept {
  auto& self = static_cast<NumberedWork&>(work);
  (*self.on_run)(self.number);
}

TEST(IssuerForeignPost, WakesASleepingIssuerWithoutLoss) {
  constexpr unsigned thread_count = 4;
  constexpr unsigned per_thread = 3'000;
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb kept_in_flight;
  kept_in_flight.prepare_read_of(file);
  issuer->submit(kept_in_flight);

  unsigned ran = 0;
  unsigned out_of_order = 0;
  std::array<unsigned, thread_count> next{};
  const auto owner = std::this_thread::get_id();
  std::function<void(unsigned)> on_run = [&](unsigned number) {
    if (std::this_thread::get_id() != owner || current_context() != Context::issuer ||
        number / thread_count != next[number % thread_count]++) {
      ++out_of_order;
    }
    if (++ran == thread_count * per_thread) complete(kept_in_flight, IoResult::success(0));
  };
  std::vector<NumberedWork> works(thread_count * per_thread);
  for (unsigned i = 0; i < works.size(); ++i) {
    works[i].number = i;
    works[i].on_run = &on_run;
    works[i].run = &run_numbered;
  }
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < thread_count; ++thread) {
    threads.emplace_back([&, thread] {
      for (unsigned i = 0; i < per_thread; ++i)
        issuer->post(works[i * thread_count + thread]);
    });
  }
  EXPECT_EQ(issuer->wait(), 1U);
  for (auto& thread : threads)
    thread.join();
  EXPECT_EQ(ran, thread_count * per_thread);
  EXPECT_EQ(out_of_order, 0U);
  EXPECT_EQ(issuer->poll(), 0U);
}

// One at a time, so that the issuer goes to sleep before each.
TEST(IssuerForeignPost, WakesTheIssuerEachTimeItSleeps) {
  constexpr unsigned rounds = 2'000;
  const auto issuer = make_issuer();
  FakeFile file;
  TestAiocb kept_in_flight;
  kept_in_flight.prepare_read_of(file);
  issuer->submit(kept_in_flight);
  std::atomic<unsigned> ran{0};
  std::function<void(unsigned)> on_run = [&](unsigned number) {
    if (number == rounds) complete(kept_in_flight, IoResult::success(0));
    ran.store(number, std::memory_order_release);
    ran.notify_one();
  };
  std::thread poster([&] {
    NumberedWork work;
    work.on_run = &on_run;
    work.run = &run_numbered;
    for (unsigned i = 1; i <= rounds; ++i) {
      work.number = i;
      issuer->post(work);
      for (unsigned seen = ran.load(std::memory_order_acquire); seen != i;
           seen = ran.load(std::memory_order_acquire)) {
        ran.wait(seen);
      }
    }
  });
  EXPECT_EQ(issuer->wait(), 1U);
  poster.join();
  EXPECT_EQ(ran.load(), rounds);
}

TEST(IssuerForeignPost, EndsAWaitOfTheLibraryThatWaitsForIt) {
  const auto issuer = make_issuer();
  bool ran = false;
  std::function<void(unsigned)> on_run = [&](unsigned) { ran = true; };
  NumberedWork work;
  work.on_run = &on_run;
  work.run = &run_numbered;
  std::thread poster([&] { issuer->post(work); });
  issuer->impl().wait_until([&] { return ran; });
  poster.join();
  EXPECT_TRUE(ran);
}

// wake() without any work: the predicate is what changed.
TEST(IssuerForeignWake, MakesAWaitOfTheLibraryLookAgain) {
  const auto issuer = make_issuer();
  std::atomic<unsigned> stage{0};
  std::thread other([&] {
    for (unsigned i = 1; i <= 1'000; ++i) {
      stage.store(i);
      issuer->impl().wake();
      while (stage.load() == i)
        std::this_thread::yield();
    }
  });
  for (unsigned i = 1; i <= 1'000; ++i) {
    issuer->impl().wait_until([&] { return stage.load() == i; });
    stage.store(0);
  }
  other.join();
}

// --- background work that other threads end ---

// Nothing but the end of the background work ends this wait.
TEST(IssuerForeignBackground, EndsAWaitWhereverTheIssuerWasWhenItEnded) {
  constexpr unsigned rounds = 5'000;
  const auto issuer = make_issuer();
  Issuer::Impl& impl = issuer->impl();
  std::atomic<unsigned> begun{0};
  std::thread other([&] {
    for (unsigned i = 1; i <= rounds; ++i) {
      while (begun.load(std::memory_order_acquire) != i) {
      }
      // From at once to well asleep.
      for (unsigned delay = 0; delay < i % 64; ++delay)
        static_cast<void>(begun.exchange(i));
      impl.end_background();
    }
  });
  for (unsigned i = 1; i <= rounds; ++i) {
    impl.begin_background();
    begun.store(i, std::memory_order_release);
    ASSERT_EQ(issuer->wait(), 0U);
  }
  other.join();
}

// --- the end of an issuer ---

// Handshake instead of time: what the other thread posts first can only be run by the destructor.
TEST(IssuerEndWithThreads, WaitsForARequestThatIsStillInFlight) {
  auto issuer = make_issuer();
  FakeFile file;
  TestAiocb aiocb;
  aiocb.prepare_read_of(file);
  issuer->submit(aiocb);
  std::atomic<bool> destroying{false};
  std::atomic<bool> destructor_runs{false};
  std::function<void(unsigned)> on_run = [&](unsigned) {
    destructor_runs.store(destroying.load());
    destructor_runs.notify_one();
  };
  NumberedWork work;
  work.on_run = &on_run;
  work.run = &run_numbered;
  std::thread other([&] {
    destroying.wait(false);
    aiocb.issuer->post(work);
    destructor_runs.wait(false);
    complete(aiocb, IoResult::success(11));
  });
  destroying.store(true);
  destroying.notify_one();
  issuer.reset();
  EXPECT_EQ(aiocb.delivered, 1U);
  EXPECT_EQ(aiocb.result, IoResult::success(11));
  other.join();
}

TEST(IssuerEndWithThreads, OutlivesThreadsOnTheirWayOutOfTheLastCompletion) {
  constexpr unsigned rounds = 30;
  std::atomic<TestAiocb*> to_end{nullptr};
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop.load()) {
      TestAiocb* const aiocb = to_end.exchange(nullptr);
      if (aiocb != nullptr) {
        complete(*aiocb, IoResult::success(1));
      } else {
        std::this_thread::yield();
      }
    }
  });
  FakeFile file;
  for (unsigned round = 0; round < rounds; ++round) {
    TestAiocb aiocb;
    auto issuer = make_issuer({.dios_initial = 1, .bios_initial = 1});
    aiocb.prepare_read_of(file);
    issuer->submit(aiocb);
    to_end.store(&aiocb);
    issuer.reset();
    ASSERT_EQ(aiocb.delivered, 1U);
  }
  stop.store(true);
  other.join();
}

}  // namespace
}  // namespace handback::testing
