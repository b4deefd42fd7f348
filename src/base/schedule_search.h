// Which schedule comes next: all of them in order, or random ones by seed. For tests only.
//
// A schedule is the list of answers given at its choices. The search sees a choice as "one of
// count", and answer 0 is always the plainest: the same thread goes on, nothing is flushed.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace handback::testing {

class ScheduleSearch {
 public:
  ScheduleSearch() = default;
  ScheduleSearch(const ScheduleSearch&) = delete;
  ScheduleSearch& operator=(const ScheduleSearch&) = delete;
  virtual ~ScheduleSearch() = default;

  // Makes the next schedule the current one; false if there is none left.
  virtual bool next() = 0;

  // Which of `threads` runs now. The first one is the one that ran last if `may_go_on`; leaving it
  // is a preemption.
  virtual unsigned choose_thread(std::span<const unsigned> threads, bool may_go_on) = 0;
  // Which of `count - 1` buffered stores becomes visible now; 0 for none.
  virtual unsigned choose_flush(unsigned count) = 0;
  // Anything else that the machine may do one way or the other.
  virtual unsigned choose(unsigned count) = 0;
};

// Every schedule with at most `preemptions_max` preemptions, each once.
class DepthFirstSearch final : public ScheduleSearch {
 public:
  explicit DepthFirstSearch(unsigned preemptions_max) : preemptions_max_(preemptions_max) {}

  bool next() override {
    if (begun_) {
      while (!choices_.empty() && choices_.back().answer + 1 == choices_.back().count)
        choices_.pop_back();
      if (choices_.empty()) return false;
      ++choices_.back().answer;
    }
    begun_ = true;
    at_ = 0;
    preemptions_ = 0;
    return true;
  }

  unsigned choose_thread(std::span<const unsigned> threads, bool may_go_on) override {
    if (may_go_on && preemptions_ == preemptions_max_) return 0;
    const unsigned answer = choose(static_cast<unsigned>(threads.size()));
    if (may_go_on && answer != 0) ++preemptions_;
    return answer;
  }
  unsigned choose_flush(unsigned count) override { return choose(count); }

  unsigned choose(unsigned count) override {
    if (count == 1) return 0;
    if (at_ == choices_.size()) choices_.push_back({0, count});
    return choices_[at_++].answer;
  }

 private:
  struct Choice {
    unsigned answer;
    unsigned count;
  };
  std::vector<Choice> choices_;
  std::size_t at_ = 0;
  unsigned preemptions_max_;
  unsigned preemptions_ = 0;
  bool begun_ = false;
};

// Schedule i is made of seed + i alone. Half of them walk at random; the other half give each
// thread a priority, run the highest, and lower it now and then: that finds what needs one thread
// to be very late.
class RandomSearch final : public ScheduleSearch {
 public:
  RandomSearch(std::uint64_t seed, std::uint64_t count) : next_seed_(seed), left_(count) {}

  [[nodiscard]] std::uint64_t seed() const noexcept { return next_seed_ - 1; }

  bool next() override {
    if (left_ == 0) return false;
    --left_;
    state_ = next_seed_++;
    by_priority_ = draw() % 2 == 0;
    for (auto& priority : priorities_)
      priority = static_cast<std::int64_t>(draw() >> 1U);
    lowest_ = -1;
    demote_one_in_ = 4U << (draw() % 4);
    flush_one_in_ = 1U << (draw() % 5);
    return true;
  }

  unsigned choose_thread(std::span<const unsigned> threads, bool may_go_on) override {
    const auto count = static_cast<unsigned>(threads.size());
    if (!by_priority_) return choose(count);
    if (may_go_on && draw() % demote_one_in_ == 0) priorities_[threads[0]] = lowest_--;
    unsigned best = 0;
    for (unsigned i = 1; i < count; ++i) {
      if (priorities_[threads[i]] > priorities_[threads[best]]) best = i;
    }
    return best;
  }

  unsigned choose_flush(unsigned count) override {
    return draw() % flush_one_in_ != 0 ? 0 : choose(count);
  }

  unsigned choose(unsigned count) override {
    return count == 1 ? 0 : static_cast<unsigned>(draw() % count);
  }

 private:
  // SplitMix64: any seed is as good as any other.
  std::uint64_t draw() noexcept {
    std::uint64_t word = state_ += 0x9E3779B97F4A7C15U;
    word = (word ^ (word >> 30U)) * 0xBF58476D1CE4E5B9U;
    word = (word ^ (word >> 27U)) * 0x94D049BB133111EBU;
    return word ^ (word >> 31U);
  }

  std::uint64_t next_seed_;
  std::uint64_t left_;
  std::uint64_t state_ = 0;
  bool by_priority_ = false;
  std::array<std::int64_t, 16> priorities_{};
  std::int64_t lowest_ = -1;
  unsigned demote_one_in_ = 1;
  unsigned flush_one_in_ = 1;
};

}  // namespace handback::testing
