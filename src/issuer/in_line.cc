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
  InLine* withdrawn = nullptr;
  lock_.lock();
  for (InLine* entry = first_; entry != nullptr;) {
    InLine* const next = entry->next_;
    // One that is not in its line has been started and is about to remove itself, or is about to
    // enter the line: then the next look finds it there.
    if (entry->withdraw(*entry)) {
      unlink(*entry);
      entry->next_ = withdrawn;
      withdrawn = entry;
    }
    entry = next;
  }
  lock_.unlock();
  while (withdrawn != nullptr) {
    InLine* const next = withdrawn->next_;
    withdrawn->cancel(*withdrawn);
    withdrawn = next;
  }
}

}  // namespace handback
