#include "handback/bench/plain_ring.h"

#include <fcntl.h>
#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "common/failure.h"
#include "common/host_fd.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/bench/bench_files.h"

namespace tool {

struct PlainRing::Impl {
  std::string path;
  HostFd host;
  io_uring ring{};
  bool ring_open = false;
  handback::AlignedBuffer memory;

  void open_ring(unsigned entries) {
    // From the best to what every io_uring has.
    constexpr unsigned tries[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                  IORING_SETUP_COOP_TASKRUN, 0};
    int error = 0;
    for (const unsigned flags : tries) {
      error = io_uring_queue_init(entries, &ring, flags);
      if (error == 0) break;
    }
    if (error != 0) throw failure_of_errno(-error, "io_uring");
    ring_open = true;
    const int fd = host.get();
    require(io_uring_register_files(&ring, &fd, 1));
    const iovec whole{memory.data(), memory.size()};
    require(io_uring_register_buffers(&ring, &whole, 1));
  }

  void require(int result) const {
    if (result < 0) throw failure_of_errno(-result, path);
  }

  ~Impl() {
    if (ring_open) io_uring_queue_exit(&ring);
  }
};

PlainRing::PlainRing(const std::string& path, unsigned depth_max)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->host = HostFd(open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  if (impl_->host.get() < 0) throw failure_of_errno(errno, path);
  impl_->memory = handback::AlignedBuffer(std::size_t{depth_max} * overwrite_bytes);
  std::memset(impl_->memory.data(), 0x5a, impl_->memory.size());
  impl_->open_ring(depth_max);
}

PlainRing::~PlainRing() = default;

RunResult PlainRing::overwrite(const OverwriteLoad& load) {
  OffsetSource offsets(load.seed, load.file_bytes);
  std::vector<std::uint64_t> started_ns(load.depth);
  MeasuredWindow window(monotonic_ns() + load.warm_up_ns, load.measured_ns);
  io_uring& ring = impl_->ring;

  const auto start = [&](unsigned slot, std::uint64_t now_ns) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    if (sqe == nullptr) throw Failure(exit_failed, "io_uring: the ring is smaller than the depth");
    started_ns[slot] = now_ns;
    io_uring_prep_write_fixed(sqe, 0, impl_->memory.data() + std::size_t{slot} * overwrite_bytes,
                              overwrite_bytes, offsets.next(), 0);
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(sqe, slot);
  };

  unsigned in_flight = load.depth;
  for (unsigned slot = 0; slot < load.depth; ++slot)
    start(slot, monotonic_ns());
  int first_error = 0;
  while (in_flight != 0) {
    const int submitted = io_uring_submit_and_wait(&ring, 1);
    if (submitted < 0 && submitted != -EINTR) impl_->require(submitted);
    unsigned reaped = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring, head, cqe) {
      ++reaped;
      const auto slot = static_cast<unsigned>(io_uring_cqe_get_data64(cqe));
      const std::uint64_t now_ns = monotonic_ns();
      if (cqe->res != static_cast<int>(overwrite_bytes) && first_error == 0) {
        first_error = cqe->res < 0 ? -cqe->res : EIO;
      }
      window.add_end(started_ns[slot], now_ns);
      if (!window.closed() && first_error == 0 && interrupted_by() == 0) {
        start(slot, now_ns);
      } else {
        --in_flight;
      }
    }
    io_uring_cq_advance(&ring, reaped);
  }
  if (first_error != 0) throw failure_of_errno(first_error, impl_->path);
  stop_bench_if_interrupted();
  return window.result();
}

}  // namespace tool
