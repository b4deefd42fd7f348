#include "handback/bench/buffered_plain.h"

#include <fcntl.h>
#include <handback/issuer.h>
#include <liburing.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/failure.h"
#include "common/host_fd.h"
#include "handback/bench/host_file_system.h"

namespace tool {
namespace {

class ReadRing {
 public:
  ReadRing(unsigned entries, int fd) {
    // From the best to what every io_uring has.
    constexpr unsigned tries[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                  IORING_SETUP_COOP_TASKRUN, 0};
    int error = 0;
    for (const unsigned flags : tries) {
      error = io_uring_queue_init(entries, &ring_, flags);
      if (error == 0) break;
    }
    if (error != 0) throw failure_of_errno(-error, "io_uring");
    if (const int failed = io_uring_register_files(&ring_, &fd, 1); failed < 0) {
      io_uring_queue_exit(&ring_);
      throw failure_of_errno(-failed, "io_uring");
    }
  }
  ReadRing(const ReadRing&) = delete;
  ReadRing& operator=(const ReadRing&) = delete;
  ~ReadRing() { io_uring_queue_exit(&ring_); }

  [[nodiscard]] io_uring& ring() { return ring_; }

 private:
  io_uring ring_{};
};

}  // namespace

RunResult copy_memory(std::uint64_t bytes, const ReadOrder& order, const RunTimes& times) {
  handback::AlignedBuffer from(bytes);
  handback::AlignedBuffer to(buffered_read_bytes);
  std::memset(from.data(), 0x5a, from.size());
  std::memset(to.data(), 0, to.size());
  return time_single_reads(order, times, [&](std::uint64_t offset) {
    std::memcpy(to.data(), from.data() + offset, buffered_read_bytes);
    // It is not to be left out because nobody looks.
    asm volatile("" : : "r"(to.data()) : "memory");
  });
}

struct BufferedPlain::Impl {
  HostFd host;
};

BufferedPlain::BufferedPlain(const std::string& directory, std::uint64_t file_bytes)
    : file_system_(file_system_of(directory)),
      path_(files_.make_folder(directory) + "/buffered"),
      impl_(std::make_unique<Impl>()) {
  files_.create(path_, file_bytes);
  impl_->host = HostFd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
  if (impl_->host.get() < 0) throw failure_of_errno(errno, path_);
}

BufferedPlain::~BufferedPlain() = default;

void BufferedPlain::advise(int advice) {
  if (const int error = posix_fadvise(impl_->host.get(), 0, 0, advice); error != 0)
    throw failure_of_errno(error, path_);
}

void BufferedPlain::drop_cache() {
  // What is dirty stays otherwise.
  if (fsync(impl_->host.get()) != 0) throw failure_of_errno(errno, path_);
  advise(POSIX_FADV_DONTNEED);
}

RunResult BufferedPlain::read_hits(std::uint64_t bytes, const ReadOrder& order,
                                   const RunTimes& times) {
  handback::AlignedBuffer to(buffered_chunk_bytes);
  const int fd = impl_->host.get();
  for (std::uint64_t offset = 0; offset < bytes; offset += to.size()) {
    if (pread(fd, to.data(), to.size(), static_cast<off_t>(offset)) < 0)
      throw failure_of_errno(errno, path_);
  }
  bool ok = true;
  const RunResult result = time_single_reads(order, times, [&](std::uint64_t offset) {
    ok &= pread(fd, to.data(), buffered_read_bytes, static_cast<off_t>(offset)) ==
          buffered_read_bytes;
  });
  if (!ok) throw failure_of_errno(EIO, path_);
  return result;
}

RunResult BufferedPlain::read_at_depth(const RandomReads& load) {
  drop_cache();
  advise(POSIX_FADV_RANDOM);
  ReadRing owner(load.depth, impl_->host.get());
  io_uring& ring = owner.ring();
  handback::AlignedBuffer memory(std::size_t{load.depth} * buffered_read_bytes);
  std::memset(memory.data(), 0, memory.size());
  std::vector<std::uint64_t> started_ns(load.depth);
  MeasuredWindow window(monotonic_ns() + load.times.warm_up_ns, load.times.measured_ns);
  std::uint64_t next = 0;
  unsigned in_flight = 0;
  const auto start = [&](unsigned slot, std::uint64_t now_ns) {
    if (next == load.order.count()) return;
    ++in_flight;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    started_ns[slot] = now_ns;
    io_uring_prep_read(sqe, 0, memory.data() + std::size_t{slot} * buffered_read_bytes,
                       buffered_read_bytes, load.order.offset(next++));
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(sqe, slot);
  };
  for (unsigned slot = 0; slot < load.depth; ++slot)
    start(slot, monotonic_ns());
  int first_error = 0;
  std::uint64_t now_ns = 0;
  while (in_flight != 0) {
    const int submitted = io_uring_submit_and_wait(&ring, 1);
    if (submitted < 0 && submitted != -EINTR) throw failure_of_errno(-submitted, "io_uring");
    unsigned reaped = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring, head, cqe) {
      ++reaped;
      --in_flight;
      const auto slot = static_cast<unsigned>(io_uring_cqe_get_data64(cqe));
      now_ns = monotonic_ns();
      if (cqe->res != static_cast<int>(buffered_read_bytes) && first_error == 0) {
        first_error = cqe->res < 0 ? -cqe->res : EIO;
      }
      window.add_end(started_ns[slot], now_ns);
      if (!window.closed() && first_error == 0 && interrupted_by() == 0) start(slot, now_ns);
    }
    io_uring_cq_advance(&ring, reaped);
  }
  advise(POSIX_FADV_NORMAL);
  if (first_error != 0) throw failure_of_errno(first_error, path_);
  stop_bench_if_interrupted();
  if (!window.close(now_ns)) {
    throw Failure(exit_failed,
                  "bench: the whole file was read before the warm-up was over; give a larger "
                  "--size");
  }
  return window.result();
}

RunResult BufferedPlain::read_in_order(const InOrder& load) {
  drop_cache();
  handback::AlignedBuffer to(load.bytes);
  std::memset(to.data(), 0, to.size());
  return time_in_order(load, [&](std::uint64_t offset) {
    // A round that begins again must not find what the last one left.
    if (offset == 0) drop_cache();
    if (pread(impl_->host.get(), to.data(), to.size(), static_cast<off_t>(offset)) !=
        static_cast<ssize_t>(to.size()))
      throw failure_of_errno(errno, path_);
  });
}

RunResult BufferedPlain::write_in_order(const InOrder& load) {
  handback::AlignedBuffer from(load.bytes);
  std::memset(from.data(), 0x5a, from.size());
  const RunResult result = time_in_order(load, [&](std::uint64_t offset) {
    if (pwrite(impl_->host.get(), from.data(), from.size(), static_cast<off_t>(offset)) !=
        static_cast<ssize_t>(from.size()))
      throw failure_of_errno(errno, path_);
    if ((offset + load.bytes) % bytes_per_fsync == 0 && fsync(impl_->host.get()) != 0)
      throw failure_of_errno(errno, path_);
  });
  if (fsync(impl_->host.get()) != 0) throw failure_of_errno(errno, path_);
  return result;
}

}  // namespace tool
