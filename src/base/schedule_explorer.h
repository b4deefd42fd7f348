// Runs a few logical threads under a scheduler of its own, one schedule after the other. For tests
// only; used through base/explored_concurrency.h and base/schedule_test_support.h.
//
// Every atomic operation is a scheduling point. What is modelled:
// - Store buffers: a store that is not sequentially consistent is seen by the others later, at a
//   moment that the search chooses. Stores to different places may pass each other, except that a
//   release store passes nothing older. A release or stronger read-modify-write, a sequentially
//   consistent store and a sleep empty the thread's buffer; a load never does, whatever its order.
// - Happens-before by vector clocks: a plain variable (Plain<T>) that two threads use without order
//   is reported as a data race, so that a missing acquire or release shows without weak loads.
// - Blocking: a thread may run when its condition holds. Where none can and not all have ended,
// that
//   is a deadlock, reported with what each waits for.
// Not modelled: loads that return values older than the last visible one, and weak compare-exchange
// that fails for no reason.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/explorer_fibre.h"
#include "base/schedule_search.h"
#include "base/shield.h"

namespace handback::testing {

inline constexpr unsigned logical_threads_max = 6;

// Of each thread: up to which of its own operations the owner of this clock has seen everything.
class VectorClock {
 public:
  [[nodiscard]] std::uint32_t of(unsigned thread) const noexcept { return at_[thread]; }
  void tick(unsigned thread) noexcept { ++at_[thread]; }
  void join(const VectorClock& other) noexcept {
    for (unsigned i = 0; i < logical_threads_max; ++i)
      at_[i] = std::max(at_[i], other.at_[i]);
  }

 private:
  std::array<std::uint32_t, logical_threads_max> at_{};
};

// The inside of an atomic variable.
struct AtomicCell {
  std::uint64_t bits = 0;
  VectorClock released;  // What an acquire of this value sees.
};

// One test: its threads, and what must hold. Its state is made anew for every schedule.
struct ScheduleBody {
  void* scenario = nullptr;
  void (*run)(void* scenario, unsigned thread) = nullptr;
  // Looks at the state between two steps; null if there is nothing to look at.
  void (*at_each_step)(void* scenario) = nullptr;
};

class ScheduleExplorer {
 public:
  explicit ScheduleExplorer(std::vector<const char*> thread_names) {
    HB_ASSERT(thread_names.size() <= logical_threads_max, "a schedule has few threads");
    for (const char* name : thread_names)
      threads_.push_back(
          std::make_unique<Thread>(*this, static_cast<unsigned>(threads_.size()), name));
    trace_.reserve(steps_max);
  }
  ScheduleExplorer(const ScheduleExplorer&) = delete;
  ScheduleExplorer& operator=(const ScheduleExplorer&) = delete;
  ~ScheduleExplorer() { now_ = nullptr; }

  // The one that explores now; null outside.
  [[nodiscard]] static ScheduleExplorer* now() noexcept { return now_; }

  // Before the scenario of the next schedule is made.
  void prepare() noexcept {
    now_ = this;
    steps_ = 0;
    trace_.clear();
    names_.clear();
    retired_.clear();
    failure_.clear();
    last_run_ = no_thread;
    for (auto& thread : threads_)
      thread->reset();
  }

  // Runs one schedule, to its end or to its first failure. After a failure the explorer is spent.
  void run(const ScheduleBody& body, ScheduleSearch& search) {
    body_ = body;
    search_ = &search;
    const unsigned shield_depth = shield_state.depth;
    run_next(main_);
    running_ = no_thread;
    // Of threads that will never go on.
    shield_state.depth = shield_depth;
  }

  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }
  [[nodiscard]] std::string describe_schedule() const;

  // Ends the schedule with a failure. Does not return when called by a logical thread, whose stack
  // is given up: the text must be all that the caller has made.
  void fail(std::string text) {
    if (!failure_.empty()) return;
    failure_ = std::move(text);
    give_up();
  }

  // How objects in [object, object + bytes) are called in the printed schedule.
  void name(const void* object, std::size_t bytes, const char* text) {
    names_.push_back({static_cast<const char*>(object), bytes, text});
  }

  // --- for atomic variables ---

  // False while the scenario is made and when it is looked at: then there is but one thread.
  [[nodiscard]] bool in_thread() const noexcept { return running_ != no_thread && !looking_; }
  [[nodiscard]] const void* this_thread() const noexcept {
    return running_ == no_thread ? static_cast<const void*>(this) : threads_[running_].get();
  }

  std::uint64_t load(const AtomicCell& cell, std::memory_order order) {
    if (!in_thread()) return cell.bits;
    step("load", &cell);
    Thread& self = *threads_[running_];
    std::uint64_t bits = cell.bits;
    if (const Store* own = newest_store(self, cell); own != nullptr) {
      bits = own->bits;
    } else {
      acquire(self, cell, order);
    }
    return done(self, bits);
  }

  void store(AtomicCell& cell, std::uint64_t bits, std::memory_order order) {
    if (!in_thread()) {
      cell.bits = bits;
      return;
    }
    step("store", &cell);
    Thread& self = *threads_[running_];
    const bool release = order != std::memory_order_relaxed;
    self.buffer.push_back({&cell, bits, release ? self.clock : VectorClock{}, release});
    if (order == std::memory_order_seq_cst) drain(self);
    done(self, bits);
  }

  // `change` returns whether it stores a new value, into *bits.
  template <typename Change>
  std::uint64_t read_modify_write(const char* what, AtomicCell& cell, std::memory_order order,
                                  std::memory_order order_unchanged, Change change) {
    if (!in_thread()) {
      const std::uint64_t before = cell.bits;
      std::uint64_t bits = before;
      if (change(&bits)) cell.bits = bits;
      return before;
    }
    step(what, &cell);
    Thread& self = *threads_[running_];
    drain_up_to(self, cell);
    const std::uint64_t before = cell.bits;
    std::uint64_t bits = before;
    if (!change(&bits)) {
      acquire(self, cell, order_unchanged);
      return done(self, before);
    }
    if (releases(order)) drain(self);
    acquire(self, cell, order);
    cell.bits = bits;
    // Without release it still continues the release sequence of the value that it replaced.
    if (releases(order)) cell.released.join(self.clock);
    done(self, bits);
    return before;
  }

  // As a futex: the value is compared once more where nobody can come between that and the sleep.
  void wait(AtomicCell& cell, std::uint64_t old, std::memory_order order) {
    HB_ASSERT(in_thread(), "only a logical thread can sleep");
    for (;;) {
      step("wait", &cell);
      Thread& self = *threads_[running_];
      drain(self);
      if (done(self, cell.bits) != old) {
        acquire(self, cell, order);
        return;
      }
      self.sleeps_on = &cell;
      block_until("asleep", &cell, [&self] { return self.sleeps_on == nullptr; });
    }
  }

  void notify(AtomicCell& cell, bool all) {
    if (!in_thread()) return;
    step(all ? "notify_all" : "notify_one", &cell);
    for (;;) {
      std::array<Thread*, logical_threads_max> asleep{};
      unsigned count = 0;
      for (auto& thread : threads_) {
        if (thread->sleeps_on == &cell) asleep[count++] = thread.get();
      }
      if (count == 0) return;
      asleep[search_->choose(count)]->sleeps_on = nullptr;
      if (!all) return;
    }
  }

  // Waits until `condition`, a look at memory that is not itself a step, holds.
  template <typename Condition>
  void block_until(const char* what, const void* object, Condition condition) {
    HB_ASSERT(in_thread(), "only a logical thread can wait");
    Thread& self = *threads_[running_];
    if (!self.buffer.empty()) {
      step("about to wait", object);
      drain(self);
    }
    self.condition_argument = &condition;
    self.condition = [](void* argument) { return (*static_cast<Condition*>(argument))(); };
    step(what, object);
    // Nobody came in between: it is the first thing that this thread does with the condition true.
    self.condition = nullptr;
  }

  // A step of its own: something that happens at once, for all to see, with no order implied.
  void step(const char* what, const void* object);

  // An atomic variable that has gone must not be used any more.
  void retire(const AtomicCell& cell) {
    if (in_thread()) retired_.push_back(&cell);
  }
  void revive(const AtomicCell& cell) noexcept {
    if (!retired_.empty()) std::erase(retired_, &cell);
  }

  // --- for plain variables ---

  [[nodiscard]] unsigned running() const noexcept { return running_; }
  [[nodiscard]] const VectorClock& clock() const noexcept { return threads_[running_]->clock; }
  [[noreturn]] void race(const void* object, unsigned other) {
    note_race(object, other);
    give_up();
    std::abort();
  }

 private:
  static constexpr unsigned no_thread = ~0U;
  static constexpr std::size_t steps_max = 4000;

  struct Store {
    AtomicCell* cell;
    std::uint64_t bits;
    VectorClock released;
    bool release;
  };

  struct Thread {
    Thread(ScheduleExplorer& owner, unsigned its_index, const char* its_name)
        : index(its_index),
          name(its_name),
          explorer(&owner),
          fibre(&ScheduleExplorer::main_of_thread, this) {}

    void reset() noexcept {
      buffer.clear();
      clock = VectorClock{};
      clock.tick(index);
      condition = nullptr;
      sleeps_on = nullptr;
      begun = false;
      ended = false;
      last_what = "not begun";
      last_object = nullptr;
    }
    unsigned index;
    const char* name;
    ScheduleExplorer* explorer;
    std::vector<Store> buffer;  // Oldest first.
    VectorClock clock;
    bool (*condition)(void*) = nullptr;
    void* condition_argument = nullptr;
    const AtomicCell* sleeps_on = nullptr;
    bool begun = false;
    bool ended = false;
    const char* last_what = "";
    const void* last_object = nullptr;
    Fibre fibre;
  };

  struct TraceStep {
    unsigned thread;
    const char* what;
    const void* object;
    std::uint64_t bits;
    bool has_bits;
  };

  struct Name {
    const char* begin;
    std::size_t bytes;
    const char* text;
  };

  void give_up() noexcept {
    if (in_thread()) threads_[running_]->fibre.switch_to(main_);
  }
  void note_race(const void* object, unsigned other) {
    failure_ = fmt::format(
        "data race on {}: {} uses it, and {} has, with nothing in between that orders them",
        describe(object), threads_[running_]->name, threads_[other]->name);
  }
  bool note_use_after_end(const char* what, const void* object) {
    if (std::find(retired_.begin(), retired_.end(), object) == retired_.end()) return false;
    failure_ = fmt::format("{} of {} by {} after its end", what, describe(object),
                           threads_[running_]->name);
    return true;
  }

  static bool releases(std::memory_order order) noexcept {
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
  }
  static void acquire(Thread& self, const AtomicCell& cell, std::memory_order order) noexcept {
    if (order != std::memory_order_relaxed && order != std::memory_order_release)
      self.clock.join(cell.released);
  }

  std::uint64_t done(Thread& self, std::uint64_t bits) noexcept {
    self.clock.tick(self.index);
    trace_.back().bits = bits;
    trace_.back().has_bits = true;
    return bits;
  }

  static const Store* newest_store(const Thread& self, const AtomicCell& cell) noexcept {
    for (std::size_t i = self.buffer.size(); i-- > 0;) {
      if (self.buffer[i].cell == &cell) return &self.buffer[i];
    }
    return nullptr;
  }

  static void make_visible(Thread& self, std::size_t i) {
    const Store& store = self.buffer[i];
    store.cell->bits = store.bits;
    store.cell->released = store.released;
    self.buffer.erase(self.buffer.begin() + static_cast<std::ptrdiff_t>(i));
  }
  static void drain(Thread& self) {
    while (!self.buffer.empty())
      make_visible(self, 0);
  }
  // Everything that cannot be newer than what the thread now writes to the cell.
  static void drain_up_to(Thread& self, const AtomicCell& cell) {
    while (newest_store(self, cell) != nullptr)
      make_visible(self, 0);
  }
  static bool may_become_visible(const Thread& self, std::size_t i) noexcept {
    if (self.buffer[i].release) return i == 0;
    for (std::size_t older = 0; older < i; ++older) {
      if (self.buffer[older].cell == self.buffer[i].cell) return false;
    }
    return true;
  }

  static void main_of_thread(void* argument) {
    Thread& self = *static_cast<Thread*>(argument);
    for (;;) {
      ScheduleExplorer& explorer = *self.explorer;
      explorer.body_.run(explorer.body_.scenario, self.index);
      explorer.look();
      self.ended = true;
      self.last_what = "ended";
      explorer.run_next(self.fibre);
    }
  }

  // Between two steps.
  void look() {
    if (body_.at_each_step == nullptr) return;
    looking_ = true;
    body_.at_each_step(body_.scenario);
    looking_ = false;
    if (!failure_.empty()) threads_[running_]->fibre.switch_to(main_);
  }

  bool may_run(const Thread& thread) {
    if (thread.ended) return false;
    if (thread.condition == nullptr) return true;
    looking_ = true;
    const bool holds = thread.condition(thread.condition_argument);
    looking_ = false;
    return holds;
  }

  void run_next(Fibre& from);
  unsigned choose_next();
  bool flush_one(unsigned except, bool may_stop);
  [[nodiscard]] std::string describe(const void* object) const;
  [[nodiscard]] std::string describe_deadlock() const;

  static inline ScheduleExplorer* now_ = nullptr;

  Fibre main_;
  std::vector<std::unique_ptr<Thread>> threads_;
  ScheduleBody body_;
  ScheduleSearch* search_ = nullptr;
  unsigned running_ = no_thread;
  unsigned last_run_ = no_thread;
  bool looking_ = false;
  std::uint64_t steps_ = 0;
  std::vector<TraceStep> trace_;
  std::vector<Name> names_;
  std::vector<const AtomicCell*> retired_;
  std::string failure_;
};

inline void ScheduleExplorer::step(const char* what, const void* object) {
  if (!in_thread()) return;
  Thread& self = *threads_[running_];
  self.last_what = what;
  self.last_object = object;
  look();
  run_next(self.fibre);
  if (++steps_ == steps_max) fail("the schedule does not end");
  trace_.push_back({running_, what, object, 0, false});
  if (!retired_.empty() && note_use_after_end(what, object)) give_up();
}

// Lets the search choose who runs, and switches there. `from` runs now.
inline void ScheduleExplorer::run_next(Fibre& from) {
  const unsigned next = choose_next();
  Fibre* to = &main_;
  if (next != no_thread) {
    // What comes before a thread's first step is none: nothing was chosen there.
    last_run_ = std::exchange(threads_[next]->begun, true) ? next : no_thread;
    running_ = next;
    to = &threads_[next]->fibre;
  }
  if (to != &from) from.switch_to(*to);
}

// No thread: the schedule has ended.
inline unsigned ScheduleExplorer::choose_next() {
  for (auto& thread : threads_) {
    if (!thread->begun) return thread->index;
  }
  for (;;) {
    std::array<unsigned, logical_threads_max> ready{};
    unsigned count = 0;
    const bool may_go_on = last_run_ != no_thread && may_run(*threads_[last_run_]);
    if (may_go_on) ready[count++] = last_run_;
    bool all_ended = true;
    for (unsigned i = 0; i < threads_.size(); ++i) {
      all_ended &= threads_[i]->ended;
      if (i != last_run_ && may_run(*threads_[i])) ready[count++] = i;
    }
    if (count == 0) {
      // Buffers empty themselves sooner or later.
      if (flush_one(no_thread, false)) continue;
      if (!all_ended && failure_.empty()) failure_ = describe_deadlock();
      return no_thread;
    }
    const unsigned next = ready[search_->choose_thread({ready.data(), count}, may_go_on)];
    // Its own stores it sees anyway, and nobody else looks before its next step.
    while (flush_one(next, true)) {
    }
    if (may_run(*threads_[next])) return next;
  }
}

// Makes one buffered store visible, of any thread but `except`. False if there is none, or the
// search wants none.
inline bool ScheduleExplorer::flush_one(unsigned except, bool may_stop) {
  std::array<std::pair<Thread*, std::size_t>, 16> stores{};
  unsigned count = 0;
  for (unsigned i = 0; i < threads_.size(); ++i) {
    if (i == except) continue;
    Thread& thread = *threads_[i];
    for (std::size_t k = 0; k < thread.buffer.size() && count < stores.size(); ++k) {
      if (may_become_visible(thread, k)) stores[count++] = {&thread, k};
    }
  }
  if (count == 0) return false;
  unsigned answer = 0;
  if (may_stop) {
    answer = search_->choose_flush(count + 1);
    if (answer == 0) return false;
    --answer;
  } else {
    answer = search_->choose(count);
  }
  make_visible(*stores[answer].first, stores[answer].second);
  return true;
}

inline std::string ScheduleExplorer::describe(const void* object) const {
  const auto* const place = static_cast<const char*>(object);
  for (const Name& name : names_) {
    if (place < name.begin || place >= name.begin + name.bytes) continue;
    const auto at = place - name.begin;
    return at == 0 ? std::string(name.text) : fmt::format("{}+{}", name.text, at);
  }
  return "a variable without a name";
}

inline std::string ScheduleExplorer::describe_deadlock() const {
  std::string text = "deadlock: no thread can run";
  for (const auto& thread : threads_) {
    text += fmt::format("\n  {}: {}", thread->name, thread->last_what);
    if (thread->last_object != nullptr) text += " at " + describe(thread->last_object);
  }
  return text;
}

inline std::string ScheduleExplorer::describe_schedule() const {
  std::string text;
  for (const TraceStep& step : trace_) {
    text += fmt::format("  {:<12} {:<18} {}", threads_[step.thread]->name, step.what,
                        step.object == nullptr ? "" : describe(step.object));
    if (step.has_bits) {
      // Of an address only what it points to is the same in the next run.
      text += step.bits < 1U << 16U
                  ? fmt::format(" = {}", step.bits)
                  : fmt::format(" = &({})", describe(reinterpret_cast<const void*>(step.bits)));
    }
    text += '\n';
  }
  return text;
}

}  // namespace handback::testing
