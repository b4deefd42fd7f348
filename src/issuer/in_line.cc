#include "issuer/in_line.h"

namespace handback {

void InLineList::add(InLine& entry) noexcept {
  lock_.lock();
  entry.previous_ = nullptr;
  entry.next_ = first_;
  if (first_ != nullptr) first_->previous_ = &entry;
  first_ = &entry;
  entry.listed_ = true;
  lock_.unlock();
}

void InLineList::unlink(InLine& entry) noexcept {
  (entry.previous_ != nullptr ? entry.previous_->next_ : first_) = entry.next_;
  if (entry.next_ != nullptr) entry.next_->previous_ = entry.previous_;
  entry.listed_ = false;
}

void InLineList::remove(InLine& entry) noexcept {
  lock_.lock();
  if (entry.listed_) unlink(entry);
  lock_.unlock();
}

void InLineList::cancel_all() noexcept {
  for (;;) {
    lock_.lock();
    InLine* const entry = first_;
    if (entry == nullptr) {
      lock_.unlock();
      return;
    }
    const bool withdrawn = entry->withdraw(*entry);
    unlink(*entry);
    lock_.unlock();
    // If it was started, whoever did that goes on with it.
    if (withdrawn) entry->cancel(*entry);
  }
}

}  // namespace handback
