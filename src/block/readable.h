// Sleeping on descriptors, for queues that have nothing better.
#pragma once

#include <cstdint>

namespace handback {

// Sleeps until one of the descriptors is readable, `timeout_ns` passed (negative: no limit), or a
// signal came. Descriptors of -1 are left out.
void sleep_until_readable(int fd, int other_fd, std::int64_t timeout_ns) noexcept;

}  // namespace handback
