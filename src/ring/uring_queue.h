// A queue on an io_uring of its own.
//
// Owner and thread class: the thread that opened it, for everything including its end.
// At most queue_depth bios are at the ring, held-back ones included. Each owns at most one entry of
// either ring, and the wake fd one more; the submission ring has at least that many entries and the
// completion ring twice as many, so neither can overflow.
#pragma once

#include <handback/block_device.h>

#include <memory>

#include "block/bio_queue.h"
#include "ring/busy_wait.h"
#include "ring/pinned_regions.h"
#include "ring/unique_fd.h"
#include "ring/uring.h"

namespace handback {

inline constexpr unsigned uring_queue_depth_max = 4096;

struct UringQueueOptions {
  unsigned queue_depth = 256;  // 1 to uring_queue_depth_max.
  int wake_fd = -1;
  std::int64_t busy_wait_ns_max = 0;  // BusyWait: how long a wait may be to be looked through.
  UringFeatures allowed;              // Tests take features away.
};

class UringQueue final : public BlockQueue, public RegistersBuffers {
 public:
  // `fd` and `geometry` outlive the queue. Fails with the host's errno.
  [[nodiscard]] static tl::expected<std::unique_ptr<UringQueue>, int> open(
      int fd, const Geometry& geometry, const UringQueueOptions& options);
  ~UringQueue() override;

  void submit(Bio* chain) noexcept override;
  void kick() noexcept override;
  unsigned poll() noexcept override;
  void wait(std::int64_t timeout_ns) noexcept override;
  [[nodiscard]] int wait_fd() noexcept override;

  bool register_buffer(std::span<std::byte> memory) noexcept override;
  void unregister_buffer(std::span<std::byte> memory) noexcept override;

  [[nodiscard]] const UringFeatures& features() const noexcept { return uring_->features(); }

 private:
  UringQueue(std::unique_ptr<Uring> uring, UniqueFd completion_fd, int fd, const Geometry& geometry,
             const UringQueueOptions& options);

  // Takes a place at the ring. Requires: at_ring_ < queue_depth_.
  void start(Bio& bio) noexcept;
  // Writes the entry for what is left of `bio`.
  void prepare(Bio& bio) noexcept;
  void prepare_transfer(io_uring_sqe& entry, Bio& bio) noexcept;
  // Whether completions may wait in the kernel for the issuer to look. May be true for nothing: the
  // kernel sets the mark after it has queued a completion, and the issuer may have run that
  // already.
  [[nodiscard]] bool must_enter() const noexcept;
  // Enters the kernel. Returns whether the completion ring holds anything then.
  bool fetch() noexcept;
  // Ends what the completion ring holds, and lets waiting bios take the places.
  unsigned reap() noexcept;
  // The ring says `count` of `bio`. Returns whether the bio has its result, else it goes on.
  bool settle(Bio& bio, int count) noexcept;
  void arm_wake() noexcept;
  // Looks for completions for `limit_ns`. Returns whether there are any.
  bool look_for(std::int64_t since_ns, std::int64_t limit_ns) noexcept;
  void sleep(std::int64_t timeout_ns) noexcept;

  std::unique_ptr<Uring> uring_;
  io_uring& ring_;  // Of uring_.
  const int fd_;    // As the ring names it: 0 where the file is registered.
  const Geometry& geometry_;
  const unsigned queue_depth_;
  const int wake_fd_;
  BusyWait busy_wait_;
  bool wake_armed_ = false;  // The ring watches the wake fd.
  bool ending_ = false;      // Inside reap().
  // An eventfd that the kernel writes for each batch of completions, from the first wait_fd() on;
  // only where the ring's own descriptor would not do.
  UniqueFd completion_fd_;
  bool completion_fd_registered_ = false;
  unsigned at_ring_ = 0;
  BioQueue waiting_;  // For a place at the ring.
  PinnedRegions regions_;
};

}  // namespace handback
