// Who waits for a page, for memory or for a write-back: entries in the order in which they were
// armed. Guarded by the cache's lock, except wake_all().
#pragma once

#include <handback/page_wait.h>
#include <string>

#include "base/context.h"
#include "base/planted_bug.h"

namespace handback {

struct PageWaitList {
  // Requires: not armed.
  void arm(WaitPage& wait, PageWaitSource& source) noexcept {
    wait.source = &source;
    wait.list = this;
    wait.error = {};
    wait.next = nullptr;
    (last != nullptr ? last->next : first) = &wait;
    last = &wait;
  }

  // Takes everybody; they are for wake_all(), once the lock is released. From here on nobody can
  // cancel them.
  [[nodiscard]] WaitPage* take_all(IoResult error = {}) noexcept {
    WaitPage* taken = first;
    for (WaitPage* wait = first; wait != nullptr; wait = wait->next) {
      wait->list = nullptr;
      wait->error = error;
    }
    first = nullptr;
    last = nullptr;
    return taken;
  }

  // False if the entry is not armed here.
  [[nodiscard]] bool cancel(WaitPage& wait) noexcept {
    WaitPage* previous = nullptr;
    for (WaitPage* other = first; other != nullptr; previous = other, other = other->next) {
      if (other != &wait) continue;
      (previous != nullptr ? previous->next : first) = wait.next;
      if (last == &wait) last = previous;
      wait.list = nullptr;
      return true;
    }
    return false;
  }

  // An entry may be armed elsewhere, or gone, as soon as it was woken.
  static void wake_all(WaitPage* taken) noexcept {
    if (planted(PlantedBug::cache_wake_lost)) return;
    while (taken != nullptr) {
      WaitPage* following = taken->next;
      const HandlerScope scope("page wait entry", Acts::none, taken, &describe);
      taken->wake(*taken);
      taken = following;
    }
  }

  [[nodiscard]] static std::string describe(const void* wait) {
    return "a read of which " + std::to_string(static_cast<const WaitPage*>(wait)->bytes_done) +
           " bytes are done";
  }

  WaitPage* first = nullptr;
  WaitPage* last = nullptr;
};

}  // namespace handback
