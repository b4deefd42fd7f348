// The signal by which one thread makes another reap its rings.
#pragma once

namespace handback {

// Installs the handler for `signal`, once for the process, and unblocks the signal for the calling
// thread. Signals that send_nudge() did not send go to the handler that was there before.
// Returns the host's errno, or 0.
[[nodiscard]] int prepare_nudge(int signal) noexcept;

// Sends it to the thread `tid` of this process, whose handler then calls shield_nudged(). Requires:
// the thread is alive. False if the host's queue of signals is full.
bool send_nudge(int tid, int signal) noexcept;

[[nodiscard]] int current_tid() noexcept;

}  // namespace handback
