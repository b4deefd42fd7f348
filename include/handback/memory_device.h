// Devices without hardware: memory, for tests and benchmarks, and null, which stores nothing.
#pragma once

#include <handback/block_device.h>
#include <cstddef>
#include <memory>

namespace handback {

struct MemoryDeviceOptions {
  std::uint64_t size_bytes = 64U << 20;
  std::uint32_t logical_block_bytes = 4096;
  std::uint32_t memory_alignment_bytes = 1;
  std::uint32_t transfer_bytes_max = 1U << 20;
  bool volatile_cache = false;  // Only announced: memory has no cache to lose.
  bool fua = false;
};

// Bytes in memory, zero at first, lost with the object. Bios are carried out in submit() and end in
// poll(). Any number of threads may have queues; overlapping bios of different threads are the
// callers' race.
[[nodiscard]] std::unique_ptr<BlockDevice> make_memory_device(
    const MemoryDeviceOptions& options = {});

// Writes are dropped, reads leave the buffer as it is, everything succeeds at once.
[[nodiscard]] std::unique_ptr<BlockDevice> make_null_device(
    const MemoryDeviceOptions& options = {});

}  // namespace handback
