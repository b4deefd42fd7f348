// How many still use a record: one for the submission, one for each bio.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/concurrency.h"

namespace handback {

template <typename Concurrency = HostConcurrency>
class ReferenceCount {
 public:
  // Before anybody else knows of the record.
  void set(std::uint32_t count) noexcept { count_.store(count, std::memory_order_relaxed); }

  // True for whoever drops the last one, and that one alone: it sees what all the others wrote
  // before. Everybody else touches the record no more.
  [[nodiscard]] bool drop() noexcept { return count_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  typename Concurrency::template Atomic<std::uint32_t> count_{0};
};

}  // namespace handback
