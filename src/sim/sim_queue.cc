#include "sim/sim_queue.h"

#include <algorithm>
#include <cerrno>
#include <thread>

#include "base/assert.h"
#include "base/context.h"
#include "block/bio_check.h"

namespace handback::sim {
namespace {

constexpr std::uint64_t poll_ns = 100;
// Nobody waits that long for a device that has nothing to do, except for ever.
constexpr std::uint64_t hang_ns = 3'600'000'000'000;

}  // namespace

SimQueue::~SimQueue() {
  HB_ASSERT(refused_.empty(), "a queue is closed only when none of its bios is in flight");
  device_.forget_queue(*this);
}

void SimQueue::submit(Bio* chain) noexcept {
  while (chain != nullptr) {
    Bio& bio = *chain;
    chain = bio.next;
    bio.next = nullptr;
    const IoResult verdict = check_bio(device_.geometry(), bio);
    if (verdict.ok()) {
      device_.submitted(*this, bio);
    } else {
      bio.result = verdict;
      refused_.push(bio);
    }
  }
}

void SimQueue::end(SimDevice::Pending& pending) noexcept {
  Bio& bio = *pending.bio;
  const bool other_thread = pending.faulty && pending.fault == FaultKind::ends_on_other_thread;
  const bool twice = pending.faulty && pending.fault == FaultKind::ends_twice;
  if (other_thread) {
    std::thread([&bio] {
      const ContextScope scope(Context::device);
      bio.end_io(bio);
    }).join();
    return;
  }
  const BioEnd end_io = bio.end_io;
  end_io(bio);
  // The bio is its owner's again: this is what a broken device does.
  if (twice) end_io(bio);
}

unsigned SimQueue::poll() noexcept {
  unsigned ended = end_bios(refused_.take_all());
  if (!device_.instant_) environment_.advance(poll_ns);
  for (;;) {
    auto& pending = device_.pending_;
    auto next = pending.end();
    const std::uint64_t now_ns = environment_.monotonic_ns();
    for (auto at = pending.begin(); at != pending.end(); ++at) {
      if ((*at)->queue != this || (*at)->due_ns > now_ns) continue;
      if (next == pending.end() || (*at)->due_ns < (*next)->due_ns) next = at;
    }
    if (next == pending.end()) break;
    std::unique_ptr<SimDevice::Pending> due = std::move(*next);
    pending.erase(next);
    device_.carry_out(*due);
    end(*due);
    device_.spare_.push_back(std::move(due));
    ++ended;
  }
  if (ended != 0) idle_since_ns_ = 0;
  return ended;
}

void SimQueue::wait(std::int64_t timeout_ns) noexcept {
  if (!refused_.empty() || timeout_ns == 0) return;
  const std::uint64_t now_ns = environment_.monotonic_ns();
  std::uint64_t next_ns = never;
  for (const auto& pending : device_.pending_) {
    if (pending->queue == this) next_ns = std::min(next_ns, pending->due_ns);
  }
  if (next_ns <= now_ns) return;
  if (next_ns == never) {
    HB_ASSERT(timeout_ns > 0, "the program sleeps without a limit, and nothing will end the sleep");
    if (idle_since_ns_ == 0) idle_since_ns_ = now_ns;
    HB_ASSERT(now_ns - idle_since_ns_ < hang_ns,
              "the program has waited for an hour for something that nobody does");
  }
  std::uint64_t until_ns = next_ns;
  if (timeout_ns > 0)
    until_ns = std::min(until_ns, now_ns + static_cast<std::uint64_t>(timeout_ns));
  environment_.advance(until_ns - now_ns);
}

}  // namespace handback::sim
