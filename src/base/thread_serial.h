// A number for each thread that ever ran, unlike thread_token(), which a later thread may have
// again.
#pragma once

#include <cstdint>

namespace handback {

// The calling thread's; never 0.
[[nodiscard]] std::uint64_t thread_serial() noexcept;

}  // namespace handback
