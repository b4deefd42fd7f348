// The workers' line and the pool of records in every schedule.
#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "base/schedule_test_support.h"
#include "issuer/slab_pool.h"
#include "issuer/wake.h"
#include "issuer/worker_line.h"

namespace handback::testing {
namespace {

// --- the workers' line ---

struct Work {
  Plain<Work*> next;
  Plain<unsigned> runs;
};

struct Worker {
  using Explored = ExploredConcurrency<>;
  struct Wake : WakeProtocol<ExploredEvent, Explored> {
    using WakeProtocol<ExploredEvent, Explored>::event;
  };

  Explored::Atomic<bool> idle{false};
  Plain<Worker*> next_idle;
  std::optional<Wake> sleeper{std::in_place};  // Goes with the worker's thread, as its issuer does.

  void wake() noexcept { sleeper->wake(); }
};

class Line : public WorkerLine<Work, Worker, ExploredConcurrency<>> {
 public:
  // Who is idle stays so only as long as the others are enough.
  [[nodiscard]] bool sleeps_too_much(unsigned worker_count) const {
    unsigned idle = 0;
    for (const Worker* worker = idle_; worker != nullptr; worker = worker->next_idle)
      ++idle;
    return idle != 0 && depth_ > worker_count - idle;
  }
};

// The twins, each with a loop of its own.
enum class Twin {
  none,
  idle_after_the_lock,  // Who is idle says so only after it has let go of the lock.
  // A flag that is clear after next() is taken for the end, as in the first version of the pool.
  woken_is_taken_for_the_end,
  ends_under_its_wakers,  // Who has cleared the flag may still be waking it.
};

template <Twin twin>
class TwinLine : public Line {
 public:
  template <typename Run, typename Sleep>
  void serve(Worker& worker, Run run, Sleep sleep) noexcept {
    for (;;) {
      Work* work = nullptr;
      const Turn turn = next(worker, &work);
      if (turn == Turn::end) {
        if (twin != Twin::ends_under_its_wakers) wait_for_wakers();
        return;
      }
      if (turn == Turn::work) {
        run(*work);
        continue;
      }
      if (twin == Twin::woken_is_taken_for_the_end &&
          !worker.idle.load(std::memory_order_relaxed)) {
        return;
      }
      if (twin == Twin::idle_after_the_lock) worker.idle.store(true, std::memory_order_relaxed);
      sleep([&worker] { return !worker.idle.load(std::memory_order_seq_cst); });
    }
  }
};

// Workers; one or two that add; and last the pool's owner, who waits until all was run and stops
// the line.
template <unsigned worker_count, unsigned adder_count, unsigned work_count, typename LineType>
struct Pool {
  LineType line;
  std::array<Worker, worker_count> workers;
  std::array<Work, work_count> works;
  unsigned ran = 0;

  Pool() {
    name(line, "line");
    for (Worker& worker : workers) {
      name(worker.idle, "idle");
      name(worker.sleeper->event(), "eventfd");
      name(*worker.sleeper, "flag");
    }
    name(works, "works");
  }

  void run(unsigned thread) {
    if (thread < worker_count) {
      serve(workers[thread]);
      workers[thread].sleeper.reset();
    } else if (thread < worker_count + adder_count) {
      for (unsigned i = thread - worker_count; i < work_count; i += adder_count)
        line.add(works[i]);
    } else {
      sleep_until("all work run", nullptr, [this] { return ran == work_count; });
      line.stop();
    }
  }

  void serve(Worker& worker) {
    line.serve(
        worker,
        [this](Work& work) {
          ++work.runs;
          ++ran;
        },
        // As Issuer::Impl::wait_until.
        [&worker](auto woken) {
          while (!woken()) {
            worker.sleeper->announce_sleep();
            if (!woken()) {
              const ExploredEvent& event = worker.sleeper->event();
              sleep_until("asleep", &event, [&event] { return event.readable(); });
            }
            worker.sleeper->end_sleep();
          }
        });
  }

  void at_each_step() {
    check(!line.sleeps_too_much(worker_count), "an idle worker leaves no work in line");
  }
  void at_end() {
    for (const Work& work : works)
      check(work.runs.peek() == 1, "each work is run once");
  }
};

template <unsigned works, typename LineType = Line>
struct OneWorker : Pool<1, 1, works, LineType> {
  static constexpr std::array threads{"worker", "adder", "owner"};
};
template <unsigned works, typename LineType = Line>
struct TwoWorkers : Pool<2, 2, works, LineType> {
  static constexpr std::array threads{"worker a", "worker b", "adder a", "adder b", "owner"};
};

TEST(WorkerLineSchedules, RunAllWorkAndLetNoWorkerSleepBeforeIt) {
  expect_holds(explore_all<OneWorker<1>>(4));
  expect_holds(explore_all<OneWorker<2>>(2));
  expect_holds(explore_all<TwoWorkers<2>>(1));
  expect_holds(explore_random<TwoWorkers<4>>(10'000));
}

TEST(WorkerLineSchedules, ShowAWorkerThatIsIdleOnlyAfterTheLock) {
  using Broken = TwinLine<Twin::idle_after_the_lock>;
  expect_finds(explore_all<OneWorker<1, Broken>>(2), "worker: asleep at eventfd");
  expect_finds(explore_first_seeds<TwoWorkers<4, Broken>>(10'000), "deadlock");
}

TEST(WorkerLineSchedules, ShowAWorkerThatEndsWhenItIsWokenBeforeItSleeps) {
  using Broken = TwinLine<Twin::woken_is_taken_for_the_end>;
  expect_finds(explore_all<OneWorker<1, Broken>>(2), "after its end");
  expect_finds(explore_first_seeds<TwoWorkers<4, Broken>>(10'000), "after its end");
}

TEST(WorkerLineSchedules, ShowAWorkerThatEndsUnderWhoeverWakesIt) {
  using Broken = TwinLine<Twin::ends_under_its_wakers>;
  expect_finds(explore_all<OneWorker<1, Broken>>(2), "after its end");
  expect_finds(explore_first_seeds<TwoWorkers<4, Broken>>(10'000), "after its end");
}

TEST(WorkerLineSchedules, HoldForTheLoopOfTheTwinsWithoutTheirFaults) {
  expect_holds(explore_all<OneWorker<2, TwinLine<Twin::none>>>(2));
}

// --- the pool of records ---

// The owner takes records and hands them to the others, who give them back meanwhile.
template <unsigned foreign_count, unsigned rounds, Faults faults>
struct Records {
  static constexpr unsigned record_count = 2 * foreign_count;
  using Explored = ExploredConcurrency<faults>;
  using Pool = SlabPool<64, Explored>;

  std::optional<Pool> pool;
  std::array<typename Explored::template Atomic<void*>, foreign_count> lanes;
  std::array<void*, record_count * 4> known{};
  std::array<Plain<bool>, record_count * 4> held;

  Records() {
    name(lanes, "lanes");
    name(held, "records");
  }

  Plain<bool>& mark(void* record) {
    unsigned i = 0;
    while (known[i] != nullptr && known[i] != record)
      ++i;
    known[i] = record;
    return held[i];
  }

  void run(unsigned thread) {
    if (thread == 0) {
      own();
      return;
    }
    auto& lane = lanes[thread - 1];
    for (unsigned i = 0; i < rounds; ++i) {
      sleep_until("a record", &lane, [&lane] { return lane.load() != nullptr; });
      void* const record = lane.exchange(nullptr, std::memory_order_acq_rel);
      mark(record) = false;
      pool->give_back(record);
    }
  }

  void own() {
    pool.emplace(record_count);
    name(*pool, "pool");
    for (unsigned i = 0; i < rounds; ++i) {
      for (auto& lane : lanes) {
        sleep_until("an empty lane", &lane, [&lane] { return lane.load() == nullptr; });
        void* const record = pool->take();
        check(!mark(record), "a record has one holder");
        mark(record) = true;
        lane.exchange(record, std::memory_order_acq_rel);
      }
    }
  }

  void at_end() {
    check(pool->growths() == 0, "no growth while records come back");
    unsigned left = 0;
    while (pool->take() != nullptr && pool->growths() == 0)
      ++left;
    check(left == record_count, "no record is lost");
  }
};

template <unsigned rounds, Faults faults = Faults{}>
struct OneGivesBack : Records<1, rounds, faults> {
  static constexpr std::array threads{"owner", "foreign"};
};
template <unsigned rounds, Faults faults = Faults{}>
struct TwoGiveBack : Records<2, rounds, faults> {
  static constexpr std::array threads{"owner", "foreign a", "foreign b"};
};

TEST(SlabPoolSchedules, LoseNoRecordAndGiveNoneTwice) {
  expect_holds(explore_all<OneGivesBack<4>>(3));
  expect_holds(explore_all<TwoGiveBack<3>>(2));
  expect_holds(explore_random<TwoGiveBack<6>>(10'000));
}

TEST(SlabPoolSchedules, ShowATakeByLoadAndStore) {
  expect_finds(explore_first_seeds<TwoGiveBack<6, Faults{.exchange_in_two_steps = true}>>(10'000),
               "broken");
}

TEST(SlabPoolSchedules, ShowARecordGivenBackWithoutRelease) {
  expect_finds(explore_first_seeds<TwoGiveBack<6, Faults{.exchanges_relaxed = true}>>(10'000),
               "data race on records");
}

}  // namespace
}  // namespace handback::testing
