#pragma once

#include <handback/block_device.h>
#include <handback/memory_device.h>

namespace handback {

// Aborts if the options contradict each other: they are the program's own, not the user's.
[[nodiscard]] Geometry geometry_from_options(const MemoryDeviceOptions& options) noexcept;

}  // namespace handback
