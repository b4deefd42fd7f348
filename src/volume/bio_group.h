// Several bios that succeed or fail together: the volume's own I/O (log, checkpoint, loading).
//
// Owner: the caller, until it ended. Thread class: the issuer's thread; bios may end on any.
#pragma once

#include <handback/block_device.h>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "issuer/issuer_impl.h"

namespace handback {

class BioGroup : private IssuerWork {
 public:
  using Ended = void (*)(BioGroup& group, void* owner) noexcept;

  BioGroup(Issuer::Impl& issuer, BlockDevice& device) : issuer_(&issuer), device_(&device) {}
  BioGroup(const BioGroup&) = delete;
  BioGroup& operator=(const BioGroup&) = delete;

  // Adds I/O of any length, split at the device's limit. Requires: not started; alignment of the
  // device.
  void read(std::uint64_t addr, std::span<std::byte> to);
  void write(std::uint64_t addr, std::span<const std::byte> from, bool fua = false);
  void flush();

  // Starts everything at once, through the issuer or, on a thread that adopted this work, through
  // the one that waits there. `ended` runs once in issuer context of that issuer, or of who adopts
  // it, when all of it ended; the group may be destroyed there. Any context that may submit.
  void start(Ended ended, void* owner) noexcept;

  // Starts and waits, reaping and settling the issuer's other requests meanwhile. Task context.
  IoResult run_and_wait() noexcept;

  // `ended` will touch what lies on the stack of a wait: nobody may adopt it. Before start().
  void keep_to_owner() noexcept { owner_waits_ = true; }

  // Requires: ended. ok, or the first error.
  [[nodiscard]] IoResult result() const noexcept;

 private:
  void add(BioOp op, std::uint64_t addr, std::byte* data, std::size_t length, bool fua);
  static void bio_end(Bio& bio) noexcept;
  void all_ended() noexcept;

  Issuer::Impl* issuer_;
  BlockDevice* device_;
  std::vector<Bio> bios_;
  std::atomic<std::size_t> left_{0};
  std::atomic<std::uint64_t> first_error_{0};
  bool owner_waits_ = false;        // `ended` is for the issuer's own thread.
  Issuer::Impl* served_ = nullptr;  // Another issuer that carries it out.
  Ended ended_ = nullptr;
  void* owner_ = nullptr;
};

}  // namespace handback
