// First in, first out, through Bio::next: bios that wait, without allocating.
//
// Owner: a BlockQueue. Not synchronised.
#pragma once

#include <handback/bio.h>

namespace handback {

class BioQueue {
 public:
  BioQueue() = default;
  BioQueue(const BioQueue&) = delete;
  BioQueue& operator=(const BioQueue&) = delete;

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  void push(Bio& bio) noexcept {
    bio.next = nullptr;
    *last_ = &bio;
    last_ = &bio.next;
  }

  // The oldest, or null.
  Bio* pop() noexcept {
    Bio* const bio = first_;
    if (bio == nullptr) return nullptr;
    first_ = bio->next;
    if (first_ == nullptr) last_ = &first_;
    bio->next = nullptr;
    return bio;
  }

  // Moves all of `other` behind the last.
  void append(BioQueue& other) noexcept {
    if (other.empty()) return;
    *last_ = other.first_;
    last_ = other.last_;
    other.first_ = nullptr;
    other.last_ = &other.first_;
  }

  // All of them, as a chain.
  Bio* take_all() noexcept {
    Bio* const chain = first_;
    first_ = nullptr;
    last_ = &first_;
    return chain;
  }

 private:
  Bio* first_ = nullptr;
  Bio** last_ = &first_;
};

// Ends every bio of `chain` with the result it has. Returns how many.
inline unsigned end_bios(Bio* chain) noexcept {
  unsigned ended = 0;
  while (chain != nullptr) {
    Bio& bio = *chain;
    chain = bio.next;  // Its submitter may reuse the bio as soon as its end is entered.
    bio.next = nullptr;
    bio.end_io(bio);
    ++ended;
  }
  return ended;
}

}  // namespace handback
