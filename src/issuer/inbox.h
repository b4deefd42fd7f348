// Lists through an intrusive `next`: a queue for one thread, and one that any thread may push to.
#pragma once

#include <atomic>

#include "base/concurrency.h"
#include "base/planted_bug.h"

namespace handback {

// First in, first out; one thread.
template <typename Node>
class LocalQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

  void push(Node& node) noexcept {
    node.next = nullptr;
    if (head_ == nullptr) {
      head_ = &node;
    } else {
      tail_->next = &node;
    }
    tail_ = &node;
  }

  // Requires: not empty.
  Node& pop() noexcept {
    Node& node = *head_;
    head_ = node.next;
    node.next = nullptr;
    return node;
  }

  // Empties this queue and returns what it held.
  LocalQueue take() noexcept {
    LocalQueue taken = *this;
    head_ = nullptr;
    tail_ = nullptr;
    return taken;
  }

 private:
  Node* head_ = nullptr;
  Node* tail_ = nullptr;
};

// Any thread pushes, and whoever takes gets everything at once: no pop of single nodes, hence no
// ABA; of two that take, each node goes to exactly one.
// push() and empty() are sequentially consistent: together with the issuer's sleeping flag they
// form the "push, then look for a sleeper" against "say sleeping, then look at the queue" pair that
// must not reorder.
template <typename Node, typename Concurrency = HostConcurrency>
class SharedInbox {
 public:
  void push(Node& node) noexcept {
    Node* head = head_.load(std::memory_order_relaxed);
    do {
      node.next = head;
    } while (!head_.compare_exchange_weak(head, &node, std::memory_order_seq_cst,
                                          std::memory_order_relaxed));
  }

  [[nodiscard]] bool empty() const noexcept {
    return head_.load(std::memory_order_seq_cst) == nullptr;
  }

  // Everything pushed so far, oldest first.
  LocalQueue<Node> take() noexcept {
    LocalQueue<Node> taken;
    if (head_.load(std::memory_order_relaxed) == nullptr) return taken;
    Node* node = nullptr;
    if (planted(PlantedBug::inbox_taken_without_exchange)) {
      node = head_.load(std::memory_order_acquire);
      head_.store(nullptr, std::memory_order_release);
    } else {
      node = head_.exchange(nullptr, std::memory_order_acquire);
    }
    Node* oldest_first = nullptr;
    while (planted(PlantedBug::inbox_newest_first) && node != nullptr) {
      Node* next = node->next;
      taken.push(*node);
      node = next;
    }
    while (node != nullptr) {
      Node* next = node->next;
      node->next = oldest_first;
      oldest_first = node;
      node = next;
    }
    while (oldest_first != nullptr) {
      Node* next = oldest_first->next;
      taken.push(*oldest_first);
      oldest_first = next;
    }
    return taken;
  }

 private:
  typename Concurrency::template Atomic<Node*> head_{nullptr};
};

}  // namespace handback
