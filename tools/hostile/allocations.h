// How much memory the program has allocated with new, now and at most: this program's operator new
// counts.
#pragma once

#include <cstddef>

namespace hostile {

[[nodiscard]] std::size_t allocated_bytes() noexcept;
[[nodiscard]] std::size_t allocated_bytes_peak() noexcept;
// The peak is what is allocated now.
void reset_allocated_peak() noexcept;

}  // namespace hostile
