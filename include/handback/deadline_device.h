// A deadline for every bio: a device that never answers fails its requests instead of holding them
// for ever, so that every wait above it ends. open_host_device() puts one over the devices that it
// opens (HostDeviceOptions::deadline_ms); this is for devices of another kind.
//
// A bio that is not answered within its deadline ends with Errc::timed_out, and from then on the
// device is poisoned: every later bio, a read as well, ends with Errc::poisoned, until the device
// is closed and opened again. Bios in flight at that moment still end by their own answer or
// deadline.
//
// What a late bio leaves open:
// - Its outcome. A write may have happened, or happen later.
// - Its memory. The device below may read or write the memory of a late bio until it has answered;
//   overdue() says how many of those there are. Memory that a request was given may be reused or
//   freed once that is 0. Handback keeps memory of its own for as long.
// - The device. A queue may be closed, and so may the device, whatever is late. What late bios need
//   below stays until they are answered; of a device that is destroyed before that, the device
//   below it and its locks stay until the process ends, which `notice` is told.
//
// Who notices: the thread that opened a queue, in poll() and wait(), also in the signal handler of
// a nudge (issuer.h). Nobody notices for a thread that neither polls, waits, nor is waited for.
// Precision: never earlier than the deadline after the queue was first polled with the bio in it,
// and then within an eighth of the deadline and nine of the longest pauses between two polls. Time
// in which the process is stopped, or its thread does not poll, does not count in full: an age is
// counted in eighths of the deadline, at most one for each look at the clock.
#pragma once

#include <handback/block_device.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

namespace handback {

struct DeadlineOptions {
  std::uint32_t deadline_ms = 30'000;  // At least 1. The kernel's block layer has the same default.
  // Monotonic nanoseconds, for tests. Called by the threads that own queues, in signal handlers as
  // well. Null: CLOCK_MONOTONIC_COARSE.
  std::uint64_t (*clock)(void* context) noexcept = nullptr;
  void* clock_context = nullptr;
  // Receives the notice on what stays behind, when the device is destroyed. Null: standard error.
  std::function<void(std::string_view)> notice = nullptr;
};

// `inner` outlives the device; if the device is destroyed while bios are overdue, `inner` must stay
// until the process ends.
[[nodiscard]] std::unique_ptr<BlockDevice> make_deadline_device(
    BlockDevice& inner, const DeadlineOptions& options = {});

// The same, with `inner` as a part of it.
[[nodiscard]] std::unique_ptr<BlockDevice> make_deadline_device(
    std::unique_ptr<BlockDevice> inner, const DeadlineOptions& options = {});

// Bios of `device` that have missed their deadline and are not answered yet; 0 for a device without
// a deadline. Answers are seen by whoever polls the queue; after it was closed, by this call on the
// same thread. Task context.
[[nodiscard]] std::uint64_t overdue(BlockDevice& device);

}  // namespace handback
