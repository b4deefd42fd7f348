// Block devices on the host: a file or a block device opened with O_DIRECT, through io_uring where
// the host allows it and through a pool of threads with preadv2/pwritev2 where it does not.
//
// Owner: the caller. Thread class: open from any thread; each issuer opens its own queue.
// What survives a crash: what a flush or a FUA write that ended had covered.
#pragma once

#include <handback/block_device.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace handback {

enum class HostEngine : std::uint8_t {
  automatic,  // io_uring if the host allows it, else threads (which says so once).
  io_uring,   // Fails to open where io_uring is forbidden or missing.
  threads,    // preadv2/pwritev2 on a pool; completions arrive on foreign threads.
};

struct HostDeviceOptions {
  HostEngine engine = HostEngine::automatic;
  bool read_only = false;
  unsigned queue_depth = 256;  // Bios at the ring at once, per queue: 1 to 4096. More wait.
  // An issuer that waits on this device's io_uring alone looks for completions for that long before
  // it sleeps, as long as its waits have lately been shorter: then sleeping and waking up costs
  // more time than the device, and no less of the processor. 0: it always sleeps at once.
  unsigned busy_wait_us_max = 50;
  unsigned threads = 8;  // Of the pool: 1 to 1024. As many bios are at the host at once.
  // A bio that the host does not answer in that time ends with timed_out, and the device is
  // poisoned (deadline_device.h). 0: bios wait for ever.
  unsigned deadline_ms = 30'000;
  // Receives each notice once per process ("io_uring is not permitted here, using 8 threads").
  // Null: standard error.
  std::function<void(std::string_view)> notice = nullptr;
};

// Opens an existing regular file or block device, and owns it exclusively (shared, if read_only)
// until the device is destroyed, or until the process ends if bios were overdue then.
// Errors: not_found, permission, is_a_directory, read_only, busy (naming the holding process),
//         invalid (neither file nor block device, or empty), not_supported, io.
[[nodiscard]] Result<std::unique_ptr<BlockDevice>> open_host_device(
    const std::string& path, const HostDeviceOptions& options = {});

// Called with bytes written so far and in all; return false to stop.
using ByteProgress = std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

// Creates `path` as a regular file of `size_bytes`, preallocated **and written** with zeros, so
// that the host below sees only pure overwrites afterwards. Leaves nothing behind if it fails.
// Errors: exists (never overwrites), no_space, too_large (for the file system, or `ulimit -f`),
//         invalid (size 0), not_found (the folder), permission, io,
//         canceled (progress said stop).
[[nodiscard]] Result<void> create_host_file(const std::string& path, std::uint64_t size_bytes,
                                            const ByteProgress& progress = nullptr);

// Which engine an opened device uses: "io_uring" or "threads"; "" for a device of another kind.
[[nodiscard]] std::string_view host_engine_name(const BlockDevice& device) noexcept;

}  // namespace handback
