// The policy (base/concurrency.h) under which code runs in a ScheduleExplorer. For tests only.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/schedule_explorer.h"

namespace handback::testing {

// What a test breaks to show that it would notice.
struct Faults {
  bool exchange_in_two_steps = false;   // A load, then a store.
  bool decrement_in_two_steps = false;  // The same of fetch_sub.
  bool stores_relaxed = false;
  bool loads_relaxed = false;
  bool exchanges_relaxed = false;  // And every other read-modify-write.
  bool notifies_nobody = false;
};

template <typename T, Faults faults = Faults{}>
class ExploredAtomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));

 public:
  ExploredAtomic() noexcept : ExploredAtomic(T{}) {}
  ExploredAtomic(T value) noexcept {  // NOLINT(google-explicit-constructor): as std::atomic.
    cell_.bits = to_bits(value);
    if (auto* explorer = ScheduleExplorer::now(); explorer != nullptr) explorer->revive(cell_);
  }
  ExploredAtomic(const ExploredAtomic&) = delete;
  ExploredAtomic& operator=(const ExploredAtomic&) = delete;
  ~ExploredAtomic() {
    if (auto* explorer = ScheduleExplorer::now(); explorer != nullptr) explorer->retire(cell_);
  }

  [[nodiscard]] T load(std::memory_order order = std::memory_order_seq_cst) const noexcept {
    return from_bits(explorer().load(cell_, of_load(order)));
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    explorer().store(cell_, to_bits(value), of_store(order));
  }

  T exchange(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    if constexpr (faults.exchange_in_two_steps) {
      const T before = load();
      store(value);
      return before;
    }
    return change("exchange", order, [&](T) { return value; });
  }
  T fetch_add(T add, std::memory_order order = std::memory_order_seq_cst) noexcept {
    return change("fetch_add", order, [&](T now) { return static_cast<T>(now + add); });
  }
  T fetch_sub(T subtract, std::memory_order order = std::memory_order_seq_cst) noexcept {
    if constexpr (faults.decrement_in_two_steps) {
      const T before = load();
      store(static_cast<T>(before - subtract));
      return before;
    }
    return change("fetch_sub", order, [&](T now) { return static_cast<T>(now - subtract); });
  }

  bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                               std::memory_order failure) noexcept {
    bool changed = false;
    const T before =
        from_bits(explorer().read_modify_write("compare_exchange", cell_, of_exchange(success),
                                               of_exchange(failure), [&](std::uint64_t* bits) {
                                                 changed = *bits == to_bits(expected);
                                                 if (changed) *bits = to_bits(desired);
                                                 return changed;
                                               }));
    if (!changed) expected = before;
    return changed;
  }
  bool compare_exchange_strong(T& expected, T desired,
                               std::memory_order order = std::memory_order_seq_cst) noexcept {
    return compare_exchange_strong(expected, desired, order, order);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                             std::memory_order failure) noexcept {
    return compare_exchange_strong(expected, desired, success, failure);
  }
  bool compare_exchange_weak(T& expected, T desired,
                             std::memory_order order = std::memory_order_seq_cst) noexcept {
    return compare_exchange_strong(expected, desired, order, order);
  }

  void wait(T old, std::memory_order order = std::memory_order_seq_cst) const noexcept {
    explorer().wait(cell_, to_bits(old), of_load(order));
  }
  void notify_one() noexcept {
    if constexpr (!faults.notifies_nobody) explorer().notify(cell_, false);
  }
  void notify_all() noexcept {
    if constexpr (!faults.notifies_nobody) explorer().notify(cell_, true);
  }

 private:
  static ScheduleExplorer& explorer() noexcept { return *ScheduleExplorer::now(); }

  static std::uint64_t to_bits(T value) noexcept {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
  }
  static T from_bits(std::uint64_t bits) noexcept {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  static constexpr std::memory_order of_load(std::memory_order order) noexcept {
    return faults.loads_relaxed ? std::memory_order_relaxed : order;
  }
  static constexpr std::memory_order of_store(std::memory_order order) noexcept {
    return faults.stores_relaxed ? std::memory_order_relaxed : order;
  }
  static constexpr std::memory_order of_exchange(std::memory_order order) noexcept {
    return faults.exchanges_relaxed ? std::memory_order_relaxed : order;
  }

  template <typename Change>
  T change(const char* what, std::memory_order order, Change new_value) noexcept {
    return from_bits(explorer().read_modify_write(
        what, cell_, of_exchange(order), std::memory_order_relaxed, [&](std::uint64_t* bits) {
          *bits = to_bits(new_value(from_bits(*bits)));
          return true;
        }));
  }

  mutable AtomicCell cell_;
};

// A variable that is not atomic: two uses, one of them a write, must be ordered by something else.
template <typename T>
class Plain {
 public:
  Plain() = default;
  Plain(T value) : value_(value) {}  // NOLINT(google-explicit-constructor): stands for a T.
  Plain(const Plain& other) : value_(other.read()) {}
  Plain& operator=(const Plain& other) {
    write(other.read());
    return *this;
  }
  Plain& operator=(T value) {
    write(value);
    return *this;
  }
  ~Plain() = default;

  operator T() const { return read(); }  // NOLINT(google-explicit-constructor): the same.
  T operator->() const { return read(); }
  Plain& operator++() {
    write(read() + 1);
    return *this;
  }

  // Without being a use: for looks from outside.
  [[nodiscard]] T peek() const noexcept { return value_; }

 private:
  static constexpr unsigned nobody = ~0U;

  T read() const {
    auto* explorer = ScheduleExplorer::now();
    if (explorer != nullptr && explorer->in_thread()) {
      const VectorClock& clock = explorer->clock();
      const unsigned self = explorer->running();
      if (writer_ != nobody && clock.of(writer_) < written_) explorer->race(this, writer_);
      read_[self] = clock.of(self);
    }
    return value_;
  }

  void write(T value) {
    auto* explorer = ScheduleExplorer::now();
    if (explorer != nullptr && explorer->in_thread()) {
      const VectorClock& clock = explorer->clock();
      if (writer_ != nobody && clock.of(writer_) < written_) explorer->race(this, writer_);
      for (unsigned i = 0; i < logical_threads_max; ++i) {
        if (clock.of(i) < read_[i]) explorer->race(this, i);
      }
      writer_ = explorer->running();
      written_ = clock.of(writer_);
    }
    value_ = value;
  }

  T value_{};
  unsigned writer_ = nobody;
  std::uint32_t written_ = 0;
  mutable std::array<std::uint32_t, logical_threads_max> read_{};
};

template <Faults faults = Faults{}>
struct ExploredConcurrency {
  template <typename T>
  using Atomic = ExploredAtomic<T, faults>;

  // Fibres share a thread, and with it what that thread holds.
  static constexpr bool leaf_rank_checked = false;
  static constexpr int lock_spins = 1;

  template <typename Condition>
  static void yield_until(Condition condition) noexcept {
    // The first look says when, the second is a step.
    do {
      ScheduleExplorer::now()->block_until("yields", nullptr, condition);
    } while (!condition());
  }

  [[nodiscard]] static const void* this_thread() noexcept {
    return ScheduleExplorer::now()->this_thread();
  }
};

// A counter that a thread can sleep on, as an eventfd; also the Event of a WakeProtocol.
class ExploredEvent {
 public:
  void write() noexcept {
    ScheduleExplorer::now()->step("eventfd write", this);
    ++count_;
    ++writes_;
  }
  std::uint64_t read() noexcept {
    ScheduleExplorer::now()->step("eventfd read", this);
    return std::exchange(count_, 0);
  }

  // Does not sleep: for conditions and checks.
  [[nodiscard]] bool readable() const noexcept { return count_ != 0; }
  [[nodiscard]] std::uint64_t writes() const noexcept { return writes_; }

 private:
  std::uint64_t count_ = 0;
  std::uint64_t writes_ = 0;
};

// Of a scenario's own rules.
inline void check(bool holds, const char* rule) {
  if (!holds) ScheduleExplorer::now()->fail(std::string("broken: ") + rule);
}

// Sleeps until `condition` holds, which is no step and may look at anything.
template <typename Condition>
void sleep_until(const char* what, const void* object, Condition condition) {
  ScheduleExplorer::now()->block_until(what, object, condition);
}

template <typename T>
void name(const T& object, const char* text) {
  ScheduleExplorer::now()->name(&object, sizeof object, text);
}

}  // namespace handback::testing
