// The calling thread's stack, for a report that may be the last thing a program prints.
#pragma once

namespace handback {

// To standard error, one line a frame; nothing where the platform has no way to tell.
void print_stack_trace() noexcept;

}  // namespace handback
