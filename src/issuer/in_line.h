// Requests of one issuer that stand in line for a range of a file. When the issuer's thread ends,
// they are taken out and end with `canceled`: whoever holds the range may be waiting for that very
// thread.
#pragma once

#include "base/leaf_lock.h"

namespace handback {

// Part of a request. Its owner adds it before the request may come to stand in line, and removes it
// first of all when the request goes on.
struct InLine {
  // Takes the request out of its line; false if it has been started. Called with the list's lock
  // held, so the request stays where it is meanwhile.
  bool (*withdraw)(InLine& entry) noexcept = nullptr;
  // Then ends it, without the lock. Runs on: issuer context.
  void (*cancel)(InLine& entry) noexcept = nullptr;

 private:
  friend class InLineList;
  InLine* previous_ = nullptr;
  InLine* next_ = nullptr;
  bool listed_ = false;
};

class InLineList {
 public:
  void add(InLine& entry) noexcept;
  // Nothing if it is not there. Any thread, device context included.
  void remove(InLine& entry) noexcept;
  // The issuer's thread, issuer context.
  void cancel_all() noexcept;

 private:
  // A line's own lock is taken under this one: both are held for a few loads and stores.
  struct Outer : HostConcurrency {
    static constexpr bool leaf_rank_checked = false;
  };
  void unlink(InLine& entry) noexcept;

  BasicLeafLock<Outer> lock_;
  InLine* first_ = nullptr;
};

}  // namespace handback
