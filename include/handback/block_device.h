// The device seam: geometry, and a queue per issuer that takes batches of bios; nothing optional.
//
// A BlockDevice outlives every queue opened on it.
// A BlockQueue belongs to the thread that opened it.
#pragma once

#include <handback/bio.h>
#include <handback/error.h>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace handback {

// What a device is. Constant while it is open.
struct Geometry {
  std::uint64_t size_bytes = 0;                // A multiple of the logical block.
  std::uint32_t logical_block_bytes = 512;     // The least unit of I/O and of tearing: 512 or 4096.
  std::uint32_t memory_alignment_bytes = 512;  // Of every segment's address.
  std::uint32_t transfer_bytes_max = 1 << 20;  // Of one bio. A multiple of the logical block.
  bool volatile_cache = false;  // An ended write may be lost by a power cut until a flush ends.
  bool fua = false;             // Honours Bio::fua. Irrelevant without a volatile cache.
  bool read_only = false;
  bool stores_data = true;  // False for the null device: reads leave the buffer as it is.
};

// One issuer's way to a device.
class BlockQueue {
 public:
  BlockQueue() = default;
  BlockQueue(const BlockQueue&) = delete;
  BlockQueue& operator=(const BlockQueue&) = delete;
  // Requires: no bio in flight. Aborts otherwise.
  virtual ~BlockQueue() = default;

  // Takes every bio of the chain (through Bio::next). A bio that breaks the geometry ends with
  // Errc::invalid; one beyond the end of the device with Errc::too_large; writes to a read-only
  // device with Errc::read_only. Order between bios is not kept.
  // May hold bios back until poll(), wait() or kick(). Never calls end_io, never blocks on I/O.
  // Runs on: the opening thread, any context that may submit.
  virtual void submit(Bio* chain) noexcept = 0;

  // Hands to the device what submit() held back, without reaping.
  virtual void kick() noexcept = 0;

  // Kicks, then ends the bios that are complete. Returns how many were ended here. Never sleeps.
  virtual unsigned poll() noexcept = 0;

  // Kicks, then sleeps until poll() may find something, the wake fd given at opening became
  // readable, or `timeout_ns` passed (negative: no limit). May return early. Does not end bios.
  virtual void wait(std::int64_t timeout_ns) noexcept = 0;

  // For an issuer that sleeps on several queues: a descriptor that polls readable when poll() has
  // something to do, or -1 if nothing but the wake fd is needed. Ask anew before each sleep, after
  // kick(): asking takes back what the descriptor told before. A queue without one has ended, in a
  // poll() right before the sleep, all that it can without the wake fd.
  [[nodiscard]] virtual int wait_fd() noexcept = 0;
};

class BlockDevice {
 public:
  BlockDevice() = default;
  BlockDevice(const BlockDevice&) = delete;
  BlockDevice& operator=(const BlockDevice&) = delete;
  virtual ~BlockDevice() = default;

  [[nodiscard]] virtual const Geometry& geometry() const noexcept = 0;

  // For messages: a path, or what it is ("memory", "null").
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;

  // Opens the calling thread's queue. `wake_fd` (an eventfd of the issuer, or -1) must stay open as
  // long as the queue; the queue only ever waits for it to be readable, it never reads from it.
  // Errors: io, permission, no_space (of the host's resources).
  [[nodiscard]] virtual Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) = 0;

  // One user that writes, or any number that only read: taken by volumes, so that no two of one
  // process share a device. False if somebody holds it the other way. Any thread.
  [[nodiscard]] bool try_claim(bool for_writing) noexcept;
  void release_claim() noexcept;

 private:
  std::atomic<int> claims_{0};  // -1: a writer; else the number of readers.
};

// An extra power of some queues: memory the host pins once instead of for every request.
// Found with dynamic_cast at set-up, never on the data path.
class RegistersBuffers {
 public:
  virtual ~RegistersBuffers() = default;
  // From now on, bios whose only segment lies inside `memory` use the pinned mapping.
  // Returns false if the host has no room or no support for it; requests then work as before.
  // `memory` must stay valid until unregister_buffer() or the queue's end.
  virtual bool register_buffer(std::span<std::byte> memory) noexcept = 0;
  virtual void unregister_buffer(std::span<std::byte> memory) noexcept = 0;
};

}  // namespace handback
