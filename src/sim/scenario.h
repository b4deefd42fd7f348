// What the explorers share: devices to run on, and a history that begins with a volume as it is.
#pragma once

#include <handback/sim.h>
#include <string>

#include "sim/history.h"
#include "sim/oracle.h"

namespace handback::sim {

enum class Cache : std::uint8_t { write_through, fua, flush_only };
inline constexpr unsigned cache_count = 3;
[[nodiscard]] const char* to_string(Cache cache) noexcept;

[[nodiscard]] SimDeviceOptions device_options(Cache cache, std::uint32_t block_bytes,
                                              std::uint64_t size_bytes, std::uint64_t seed);

// For the whole process: a volume that is opened a million times should not give its memory back to
// the host a million times; and the deliberate mistake that HB_PLANTED_BUG names, if this build has
// any, is switched on.
void prepare_process() noexcept;

// Fills the device with bytes that belong to nobody, so that a block which shows what was there
// before is noticed.
// Only the first so many bytes.
void fill_with_garbage(SimDevice& device, std::uint64_t bytes);

// A history that begins with what was found.
[[nodiscard]] History history_from(const FoundVolume& found, std::uint32_t last_write_id);

}  // namespace handback::sim
