#include "handback/bench/append_plain.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <handback/issuer.h>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "common/failure.h"
#include "common/host_fd.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/bench/append_ring.h"
#include "handback/bench/host_file_system.h"

namespace tool {
namespace {

// The files of one run, removed with it.
class RunFiles {
 public:
  RunFiles(const std::string& folder, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const std::string path = fmt::format("{}/append-{}", folder, i);
      HostFd file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600));
      if (file.get() < 0) throw failure_of_errno(errno, path);
      unlink(path.c_str());
      files_.push_back(std::move(file));
    }
    // That the file is there is durable before the first append, as for a file in use.
    for (const HostFd& file : files_) {
      if (fsync(file.get()) != 0) throw failure_of_errno(errno, folder);
    }
  }

  [[nodiscard]] unsigned count() const { return static_cast<unsigned>(files_.size()); }
  [[nodiscard]] int fd(unsigned index) const { return files_[index].get(); }
  [[nodiscard]] std::vector<int> fds() const {
    std::vector<int> fds;
    for (const HostFd& file : files_)
      fds.push_back(file.get());
    return fds;
  }

 private:
  std::vector<HostFd> files_;
};

RunResult append_through_ring(const RunFiles& files, const AppendLoad& load, bool busy) {
  AppendRing owner(load.inflight, files.fds());
  io_uring& ring = owner.ring();
  handback::AlignedBuffer memory(std::size_t{load.inflight} * append_bytes);
  std::memset(memory.data(), 0x5a, memory.size());
  std::vector<std::uint64_t> started_ns(load.inflight);
  std::vector<std::uint64_t> ends(files.count());
  std::uint64_t requests_left = load.bytes_max / append_bytes;
  MeasuredWindow window(monotonic_ns() + load.warm_up_ns, load.measured_ns);
  unsigned in_flight = 0;
  const auto start = [&](unsigned slot, std::uint64_t now_ns) {
    if (requests_left == 0) return;
    --requests_left;
    ++in_flight;
    const unsigned file = slot % files.count();
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    started_ns[slot] = now_ns;
    io_uring_prep_write(sqe, static_cast<int>(file),
                        memory.data() + std::size_t{slot} * append_bytes, append_bytes, ends[file]);
    ends[file] += append_bytes;
    sqe->rw_flags = RWF_DSYNC;
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(sqe, slot);
  };
  for (unsigned slot = 0; slot < load.inflight; ++slot)
    start(slot, monotonic_ns());
  int first_error = 0;
  std::uint64_t now_ns = 0;
  while (in_flight != 0) {
    owner.submit_and_wait(busy);
    unsigned reaped = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring, head, cqe) {
      ++reaped;
      --in_flight;
      const auto slot = static_cast<unsigned>(io_uring_cqe_get_data64(cqe));
      now_ns = monotonic_ns();
      if (cqe->res != static_cast<int>(append_bytes) && first_error == 0) {
        first_error = cqe->res < 0 ? -cqe->res : EIO;
      }
      window.add_end(started_ns[slot], now_ns);
      if (!window.closed() && first_error == 0 && interrupted_by() == 0) start(slot, now_ns);
    }
    io_uring_cq_advance(&ring, reaped);
  }
  if (first_error != 0) throw failure_of_errno(first_error, "bench: an append");
  return result_of(window, now_ns, load);
}

RunResult append_by_threads(const RunFiles& files, const AppendLoad& load) {
  std::mutex mutex;
  MeasuredWindow window(monotonic_ns() + load.warm_up_ns, load.measured_ns);
  std::uint64_t last_end_ns = 0;
  std::uint64_t requests_left = load.bytes_max / append_bytes;
  int first_error = 0;
  const auto work = [&](unsigned index) {
    handback::AlignedBuffer memory(append_bytes);
    std::memset(memory.data(), 0x5a, memory.size());
    const iovec segment{memory.data(), append_bytes};
    for (std::uint64_t offset = 0; interrupted_by() == 0; offset += append_bytes) {
      const std::uint64_t started_ns = monotonic_ns();
      const ssize_t written =
          pwritev2(files.fd(index), &segment, 1, static_cast<off_t>(offset), RWF_DSYNC);
      const int error = written < 0 ? errno : EIO;
      const std::lock_guard lock(mutex);
      // Under the lock: the window's ends come in order.
      const std::uint64_t now_ns = monotonic_ns();
      if (written != append_bytes && first_error == 0) first_error = error;
      last_end_ns = now_ns;
      window.add_end(started_ns, now_ns);
      if (window.closed() || first_error != 0 || requests_left == 0) return;
      --requests_left;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < load.inflight; ++i)
    threads.emplace_back(work, i);
  for (std::thread& thread : threads)
    thread.join();
  if (first_error != 0) throw failure_of_errno(first_error, "bench: an append");
  return result_of(window, last_end_ns, load);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

// What lies below a file system, as far as it can be seen.
std::string cache_below(const std::string& directory) {
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0) return "";
  std::ifstream in(fmt::format("/sys/dev/block/{}:{}/queue/write_cache", major(status.st_dev),
                               minor(status.st_dev)));
  std::string text;
  return std::getline(in, text) ? ", " + text : "";
}

}  // namespace

AppendPlain::AppendPlain(const std::string& directory)
    : name_(lower(file_system_of(directory))),
      place_(file_system_of(directory) + " on a block device" + cache_below(directory)),
      folder_(files_.make_folder(directory)) {}

RunResult AppendPlain::append_by(PlainWay way, const AppendLoad& load) const {
  const bool one_file = way == PlainWay::ring_one_file || way == PlainWay::ring_one_file_busy;
  const bool busy = way == PlainWay::ring_one_file_busy || way == PlainWay::ring_files_busy;
  const RunFiles files(folder_, one_file ? 1 : load.inflight);
  return way == PlainWay::threads ? append_by_threads(files, load)
                                  : append_through_ring(files, load, busy);
}

void AppendPlain::choose_way(const AppendLoad& trial) {
  std::vector<PlainWay> ways{PlainWay::ring_one_file, PlainWay::ring_one_file_busy,
                             PlainWay::threads};
  if (trial.inflight > 1)
    ways.insert(ways.end(), {PlainWay::ring_files, PlainWay::ring_files_busy});
  double best_iops = 0;
  for (const PlainWay way : ways) {
    const double iops = append_by(way, trial).iops();
    if (iops <= best_iops) continue;
    best_iops = iops;
    ways_[trial.inflight] = way;
  }
}

RunResult AppendPlain::append(const AppendLoad& load) {
  return append_by(ways_.at(load.inflight), load);
}

std::string AppendPlain::way(unsigned inflight) const {
  switch (ways_.at(inflight)) {
    case PlainWay::ring_one_file:
      return "one file, io_uring";
    case PlainWay::ring_one_file_busy:
      return "one file, io_uring, looking before it sleeps";
    case PlainWay::ring_files_busy:
      return "a file each, io_uring, looking before it sleeps";
    case PlainWay::ring_files:
      return "a file each, io_uring";
    case PlainWay::threads:
      return inflight == 1 ? "one file, pwritev2" : "a file and thread each, pwritev2";
  }
  return "";
}

}  // namespace tool
