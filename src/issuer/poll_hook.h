// Something that wants a look at the clock whenever an issuer polls: a volume's commit interval.
#pragma once

#include <cstdint>

namespace handback {

class Issuer;

class PollHook {
 public:
  virtual ~PollHook() = default;
  // Returns the nanoseconds until it wants to run again (INT64_MAX: nothing pending), or negative
  // when it has gone and is to be dropped. Runs on: the issuer's thread, issuer context.
  virtual std::int64_t run(Issuer& issuer, std::uint64_t now_ns) noexcept = 0;
};

}  // namespace handback
