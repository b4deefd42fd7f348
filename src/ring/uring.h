// An io_uring instance, with the features that this kernel turned out to have.
//
// The kernel may be far older or newer than the library and its headers: everything optional is
// tried, and used only where it worked.
#pragma once

#include <liburing.h>

#include <memory>
#include <tl/expected.hpp>

namespace handback {

struct UringFeatures {
  bool deferred =
      true;  // SINGLE_ISSUER | DEFER_TASKRUN: completions wait for their issuer to look.
  bool cooperative =
      true;  // COOP_TASKRUN, where not deferred: no interrupt for the running issuer.
  bool registered_ring = true;  // The kernel finds the ring without looking up a descriptor.
  bool fixed_file = true;       // Likewise the file, which is number 0.
  bool fixed_buffers = true;    // A table of `uring_buffer_slots` slots, empty at first.
  bool timed_wait = true;       // Submitting and waiting with a limit is one system call.

  friend bool operator==(const UringFeatures&, const UringFeatures&) = default;
};

inline constexpr unsigned uring_buffer_slots = 64;

class Uring {
 public:
  // A ring for the calling thread with room for `entries` held-back requests on the file `fd`.
  // Uses nothing that `allowed` forbids. Fails with the host's errno.
  [[nodiscard]] static tl::expected<std::unique_ptr<Uring>, int> open(unsigned entries, int fd,
                                                                      const UringFeatures& allowed);

  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;
  ~Uring();

  [[nodiscard]] io_uring& ring() noexcept { return ring_; }
  [[nodiscard]] const io_uring& ring() const noexcept { return ring_; }
  [[nodiscard]] const UringFeatures& features() const noexcept { return features_; }

 private:
  Uring() = default;

  int set_up(unsigned entries, const UringFeatures& allowed);
  void register_all(int fd, const UringFeatures& allowed);

  io_uring ring_{};
  UringFeatures features_;
};

// 0 if this thread may use io_uring here and it carries out requests, else the errno that says why
// not.
[[nodiscard]] int probe_uring();

}  // namespace handback
