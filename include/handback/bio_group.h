// Several bios that succeed or fail together: I/O that a file or a volume does of its own.
//
// Two uses. In task or worker context: run_and_wait(). As a continuation, where a handler (DioOps)
// needs more I/O to settle a request: start(), return NotFinal, and call dio_end_pending() from
// `ended`.
//
// Owner: the caller, until it ended. Thread class: the issuer's thread, or one that runs
// handed-back work of it (a thread that waits and adopts it, a worker); then the bios go through
// that thread's own issuer. Adding I/O allocates.
#pragma once

#include <handback/block_device.h>
#include <handback/issuer.h>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace handback {

class BioGroup : private IssuerWork {
 public:
  using Ended = void (*)(BioGroup& group, void* owner) noexcept;

  BioGroup(Issuer& issuer, BlockDevice& device);
  ~BioGroup();  // Requires: not started, or ended.
  BioGroup(const BioGroup&) = delete;
  BioGroup& operator=(const BioGroup&) = delete;

  // Adds I/O of any length, split at the device's limit. Requires: not started; alignment of the
  // device.
  void read(std::uint64_t addr, std::span<std::byte> to);
  void write(std::uint64_t addr, std::span<const std::byte> from, bool fua = false);
  void flush();

  // Starts everything at once. `ended` runs once when all of it ended, in issuer context, on that
  // thread or one that adopts it; the group may be destroyed there. Any context that grants submit.
  void start(Ended ended, void* owner) noexcept;

  // Starts and waits, reaping and settling the issuer's other requests meanwhile. Any context that
  // grants wait.
  IoResult run_and_wait() noexcept;

  // `ended` will touch what lies on the stack of a wait: nobody may adopt it. Before start().
  void keep_to_owner() noexcept { owner_waits_ = true; }

  // Requires: ended. ok, or the first error.
  [[nodiscard]] IoResult result() const noexcept;
  // Requires: ended. Takes `buffer` away and keeps it until the process ends, if one of the bios
  // was not answered within its deadline (deadline_device.h): the device may still use it.
  void keep_if_unanswered(AlignedBuffer& buffer) const;

 private:
  void add(BioOp op, std::uint64_t addr, std::byte* data, std::size_t length, bool fua);
  static void bio_end(Bio& bio) noexcept;
  void all_ended() noexcept;

  Issuer* issuer_;  // Once started: the one that carries it out.
  BlockDevice* device_;
  std::vector<Bio> bios_;
  std::atomic<std::size_t> left_{0};
  std::atomic<std::uint64_t> first_error_{0};
  std::atomic<bool> unanswered_{false};
  bool owner_waits_ = false;  // `ended` is for the issuer's own thread.
  Ended ended_ = nullptr;
  void* owner_ = nullptr;
};

}  // namespace handback
