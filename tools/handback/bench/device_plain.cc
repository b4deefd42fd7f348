#include <fcntl.h>
#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "common/failure.h"
#include "common/host_fd.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/bench/append_ring.h"
#include "handback/bench/bench_files.h"
#include "handback/bench/device_load.h"

namespace tool {
namespace {

class PlainDeviceRun {
 public:
  PlainDeviceRun(const std::string& path, const DeviceLoad& load)
      : path_(path),
        load_(load),
        bytes_(request_bytes(load.access)),
        host_(open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC)),
        offsets_(load),
        memory_(std::size_t{load.depth} * bytes_),
        started_ns_(load.depth),
        window_(0, 0) {
    if (host_.get() < 0) throw failure_of_errno(errno, path);
    std::memset(memory_.data(), 0x5a, memory_.size());
  }

  RunResult run() {
    AppendRing ring(load_.depth, {host_.get()});
    // One lookup less in each system call, where the kernel has that.
    static_cast<void>(io_uring_register_ring_fd(&ring.ring()));
    const iovec whole{memory_.data(), memory_.size()};
    const int failed = io_uring_register_buffers(&ring.ring(), &whole, 1);
    if (failed < 0) throw failure_of_errno(-failed, path_);
    window_ = MeasuredWindow(monotonic_ns() + load_.warm_up_ns, load_.measured_ns);
    for (unsigned slot = 0; slot < load_.depth; ++slot)
      start(ring.ring(), slot, monotonic_ns());
    while (in_flight_ != 0) {
      ring.submit_and_wait(load_.busy);
      reap(ring.ring());
    }
    if (first_error_ != 0) throw failure_of_errno(first_error_, path_);
    stop_bench_if_interrupted();
    return window_.result();
  }

 private:
  void start(io_uring& ring, unsigned slot, std::uint64_t now_ns) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    if (sqe == nullptr) throw Failure(exit_failed, "io_uring: the ring is smaller than the depth");
    ++in_flight_;
    started_ns_[slot] = now_ns;
    std::byte* const buffer = memory_.data() + std::size_t{slot} * bytes_;
    if (is_write(load_.access)) {
      io_uring_prep_write_fixed(sqe, 0, buffer, bytes_, offsets_.next(), 0);
    } else {
      io_uring_prep_read_fixed(sqe, 0, buffer, bytes_, offsets_.next(), 0);
    }
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(sqe, slot);
  }

  void reap(io_uring& ring) {
    unsigned reaped = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring, head, cqe) {
      ++reaped;
      --in_flight_;
      const auto slot = static_cast<unsigned>(io_uring_cqe_get_data64(cqe));
      const std::uint64_t now_ns = monotonic_ns();
      if (cqe->res != static_cast<int>(bytes_) && first_error_ == 0)
        first_error_ = cqe->res < 0 ? -cqe->res : EIO;
      window_.add_end(started_ns_[slot], now_ns);
      if (!window_.closed() && first_error_ == 0 && interrupted_by() == 0)
        start(ring, slot, now_ns);
    }
    io_uring_cq_advance(&ring, reaped);
  }

  const std::string& path_;
  const DeviceLoad& load_;
  unsigned bytes_;
  HostFd host_;
  DeviceOffsets offsets_;
  handback::AlignedBuffer memory_;
  std::vector<std::uint64_t> started_ns_;
  MeasuredWindow window_;
  unsigned in_flight_ = 0;
  int first_error_ = 0;
};

}  // namespace

RunResult run_plain(const std::string& path, const DeviceLoad& load) {
  return PlainDeviceRun(path, load).run();
}

}  // namespace tool
