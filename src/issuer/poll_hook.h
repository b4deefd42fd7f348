// Something that wants a look at the clock whenever an issuer polls: a volume's commit interval.
#pragma once

#include <atomic>
#include <cstdint>

namespace handback {

class Issuer;

class PollHook {
 public:
  virtual ~PollHook() = default;
  // Returns the nanoseconds until it wants to run again (INT64_MAX: nothing pending), or negative
  // when it has gone and is to be dropped. Runs on: the issuer's thread, issuer context.
  virtual std::int64_t run(Issuer& issuer, std::uint64_t now_ns) noexcept = 0;

  // While it is idle it is not run, and the clock is not looked at for its sake. It becomes so in
  // run(), when nothing is pending: says so first, and then looks whether something has come. Who
  // brings something says it afterwards. Any thread.
  [[nodiscard]] bool idle() const noexcept { return idle_.load(std::memory_order_relaxed); }
  void set_idle(bool idle) noexcept { idle_.store(idle, std::memory_order_seq_cst); }

 private:
  std::atomic<bool> idle_{false};
};

}  // namespace handback
