#include "ring/uring.h"

#include <cerrno>

namespace handback {
namespace {

// The kernel's numbers, for headers that lack them.
constexpr unsigned setup_submit_all = 1U << 7;
constexpr unsigned setup_coop_taskrun = 1U << 8;
constexpr unsigned setup_taskrun_flag = 1U << 9;
constexpr unsigned setup_single_issuer = 1U << 12;
constexpr unsigned setup_defer_taskrun = 1U << 13;
constexpr unsigned feature_ext_arg = 1U << 8;

bool has_operations(io_uring& ring) {
  io_uring_probe* const probe = io_uring_get_probe_ring(&ring);
  if (probe == nullptr) return false;
  bool all = true;
  for (const int operation :
       {IORING_OP_NOP, IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_READ_FIXED,
        IORING_OP_WRITE_FIXED, IORING_OP_POLL_ADD, IORING_OP_READ, IORING_OP_WRITE}) {
    all = all && io_uring_opcode_supported(probe, operation) != 0;
  }
  io_uring_free_probe(probe);
  return all;
}

}  // namespace

tl::expected<std::unique_ptr<Uring>, int> Uring::open(unsigned entries, int fd,
                                                      const UringFeatures& allowed) {
  std::unique_ptr<Uring> uring(new Uring);
  if (const int error = uring->set_up(entries, allowed); error != 0) {
    uring->ring_.ring_fd = -1;
    return tl::unexpected(error);
  }
  if (!has_operations(uring->ring_)) return tl::unexpected(ENOSYS);
  uring->register_all(fd, allowed);
  return uring;
}

int Uring::set_up(unsigned entries, const UringFeatures& allowed) {
  // With the task-run flag the ring says in shared memory when entering the kernel would find
  // something.
  const unsigned deferred =
      setup_submit_all | setup_taskrun_flag | setup_single_issuer | setup_defer_taskrun;
  const unsigned cooperative = setup_submit_all | setup_taskrun_flag | setup_coop_taskrun;
  int error = EINVAL;  // What a kernel says to flags it does not know.
  if (allowed.deferred) error = -io_uring_queue_init(entries, &ring_, deferred);
  features_.deferred = error == 0;
  if (error == EINVAL && allowed.cooperative) {
    error = -io_uring_queue_init(entries, &ring_, cooperative);
  }
  features_.cooperative = error == 0 && !features_.deferred;
  if (error == EINVAL) error = -io_uring_queue_init(entries, &ring_, 0);
  features_.timed_wait = allowed.timed_wait && (ring_.features & feature_ext_arg) != 0;
  return error;
}

void Uring::register_all(int fd, const UringFeatures& allowed) {
  features_.registered_ring = allowed.registered_ring && io_uring_register_ring_fd(&ring_) == 1;
  features_.fixed_file =
      allowed.fixed_file && fd >= 0 && io_uring_register_files(&ring_, &fd, 1) == 0;
  features_.fixed_buffers =
      allowed.fixed_buffers && io_uring_register_buffers_sparse(&ring_, uring_buffer_slots) == 0;
}

Uring::~Uring() {
  if (ring_.ring_fd < 0) return;
  // The kernel takes a ring apart some time after it was closed. Until then it would keep the file
  // open, and with it a block device claimed.
  if (features_.fixed_file) io_uring_unregister_files(&ring_);
  if (features_.fixed_buffers) io_uring_unregister_buffers(&ring_);
  io_uring_queue_exit(&ring_);
}

int probe_uring() {
  const UringFeatures all;
  const auto uring = Uring::open(4, -1, all);
  if (!uring) return uring.error();
  // A sandbox may allow the set-up and forbid the rest.
  io_uring& ring = (*uring)->ring();
  io_uring_prep_nop(io_uring_get_sqe(&ring));
  io_uring_cqe* done = nullptr;
  if (const int submitted = io_uring_submit_and_wait(&ring, 1); submitted < 0) return -submitted;
  if (const int error = -io_uring_peek_cqe(&ring, &done); error != 0) return error;
  return -done->res;
}

}  // namespace handback
