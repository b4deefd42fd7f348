// A device over another one that fails or holds chosen bios, made of public headers alone.
#pragma once

#include <handback/block_device.h>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace examples::testing {

// Thread class: any thread. Held bios are let go for the queue they came from, whose thread finds
// them in its next poll().
class FailingDevice final : public handback::BlockDevice {
 public:
  explicit FailingDevice(handback::BlockDevice& inner) : inner_(inner) {}

  [[nodiscard]] const handback::Geometry& geometry() const noexcept override {
    return inner_.geometry();
  }
  [[nodiscard]] const std::string& name() const noexcept override { return inner_.name(); }
  [[nodiscard]] handback::Result<std::unique_ptr<handback::BlockQueue>> open_queue(
      int wake_fd) override {
    auto opened = inner_.open_queue(wake_fd);
    if (!opened) return tl::unexpected(opened.error());
    return std::make_unique<Queue>(*this, std::move(*opened));
  }

  // The next `times` bios of kind `op` that begin at `addr` (any flush: 0) fail and reach nothing.
  void fail(handback::BioOp op, std::uint64_t addr, unsigned times = 1) {
    const std::lock_guard lock(mutex_);
    faults_.push_back({op, addr, times});
  }
  // Every n-th write of data (not of the block at `except`) fails; 0: none.
  void fail_every(unsigned n, std::uint64_t except) {
    const std::lock_guard lock(mutex_);
    every_ = n;
    except_ = except;
  }

  // From now on, what is submitted is held.
  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    hold_ = held;
  }
  [[nodiscard]] std::size_t held_count() const {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }
  // Lets the `index`-th oldest held bio go, or fails it.
  void let_go(std::size_t index = 0, bool fails = false) {
    const std::lock_guard lock(mutex_);
    Held held = held_.at(index);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    if (fails) held.bio->result = failure();
    held.fails = fails;
    held.queue->let_go_.push_back(held);
    held.queue->news_ = true;
  }

  [[nodiscard]] std::uint64_t count(handback::BioOp op) const {
    const std::lock_guard lock(mutex_);
    return counts_[static_cast<unsigned>(op)];
  }
  [[nodiscard]] static handback::IoResult failure() { return handback::IoResult::host_failure(5); }

 private:
  class Queue;
  struct Held {
    Queue* queue;
    handback::Bio* bio;
    bool fails;
  };
  struct Fault {
    handback::BioOp op;
    std::uint64_t addr;
    unsigned times;
  };

  class Queue final : public handback::BlockQueue {
   public:
    Queue(FailingDevice& device, std::unique_ptr<handback::BlockQueue> inner)
        : device_(device), inner_(std::move(inner)) {}

    void submit(handback::Bio* chain) noexcept override {
      while (chain != nullptr) {
        handback::Bio& bio = *chain;
        chain = bio.next;
        bio.next = nullptr;
        switch (device_.judge(*this, bio)) {
          case Verdict::pass:
            inner_->submit(&bio);
            break;
          case Verdict::fail:
            bio.result = failure();
            bio.next = failed_;
            failed_ = &bio;
            break;
          case Verdict::held:
            break;
        }
      }
    }
    void kick() noexcept override { inner_->kick(); }
    unsigned poll() noexcept override {
      if (news_.exchange(false)) take_what_was_let_go();
      unsigned ended = 0;
      // In the order in which they came.
      handback::Bio* oldest = nullptr;
      while (failed_ != nullptr) {
        handback::Bio* bio = failed_;
        failed_ = bio->next;
        bio->next = oldest;
        oldest = bio;
      }
      for (; oldest != nullptr; ++ended) {
        handback::Bio* bio = oldest;
        oldest = bio->next;
        bio->end_io(*bio);
      }
      return ended + inner_->poll();
    }
    void wait(std::int64_t timeout_ns) noexcept override {
      if (failed_ != nullptr || news_) return;
      // Who lets a bio go wakes nobody.
      constexpr std::int64_t look_again_ns = 1'000'000;
      inner_->wait(timeout_ns < 0 ? look_again_ns : std::min(timeout_ns, look_again_ns));
    }
    [[nodiscard]] int wait_fd() noexcept override { return inner_->wait_fd(); }

   private:
    friend class FailingDevice;
    void take_what_was_let_go() {
      std::vector<Held> taken;
      {
        const std::lock_guard lock(device_.mutex_);
        taken.swap(let_go_);
      }
      for (const Held& held : taken) {
        if (held.fails) {
          held.bio->end_io(*held.bio);
        } else {
          inner_->submit(held.bio);
        }
      }
    }

    FailingDevice& device_;
    std::unique_ptr<handback::BlockQueue> inner_;
    handback::Bio* failed_ = nullptr;
    std::atomic<bool> news_{false};
    std::vector<Held> let_go_;  // The device's mutex.
  };

  enum class Verdict : std::uint8_t { pass, fail, held };

  Verdict judge(Queue& queue, handback::Bio& bio) {
    const std::lock_guard lock(mutex_);
    ++counts_[static_cast<unsigned>(bio.op)];
    for (Fault& fault : faults_) {
      if (fault.times == 0 || fault.op != bio.op || fault.addr != bio.addr) continue;
      --fault.times;
      return Verdict::fail;
    }
    if (every_ != 0 && bio.op == handback::BioOp::write && bio.addr != except_ &&
        ++writes_seen_ % every_ == 0) {
      return Verdict::fail;
    }
    if (!hold_) return Verdict::pass;
    held_.push_back({&queue, &bio, false});
    return Verdict::held;
  }

  handback::BlockDevice& inner_;
  mutable std::mutex mutex_;
  std::vector<Fault> faults_;
  std::vector<Held> held_;
  bool hold_ = false;
  unsigned every_ = 0;
  std::uint64_t except_ = 0;
  std::uint64_t writes_seen_ = 0;
  std::uint64_t counts_[3] = {};
};

}  // namespace examples::testing
