#include "handback/bench/append_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <handback/issuer.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "common/blank_device.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/bench/append_ring.h"
#include "handback/bench/host_file_system.h"

namespace tool {
namespace {

// What looks_blank() looks at.
constexpr std::uint64_t edge_bytes = 1U << 20;
// Of both areas together: no two of the writes in flight are to the same place.
constexpr std::uint64_t areas_bytes_min = 16U << 20;

// user_data of a flush; no group has this number.
constexpr std::uint64_t flush_tag = ~std::uint64_t{0};

// One area that is written from its begin to its end, and then again.
class Area {
 public:
  Area(std::uint64_t begin, std::uint64_t end) : begin_(begin), end_(end), next_(begin) {}

  std::uint64_t take() {
    const std::uint64_t addr = next_;
    next_ += append_bytes;
    if (next_ + append_bytes > end_) next_ = begin_;
    return addr;
  }

 private:
  std::uint64_t begin_;
  std::uint64_t end_;
  std::uint64_t next_;
};

// One run, until its time is over: its areas never end. Appends that stand behind one record are a
// group, which has the number of its first.
class DeviceRun {
 public:
  DeviceRun(int fd, std::uint64_t size_bytes, const DeviceWay& way, const AppendLoad& load)
      : load_(load),
        way_(way),
        memory_(std::size_t{2} * load.inflight * append_bytes),
        ring_(2 * load.inflight + 1, {fd}),
        records_(edge_bytes, records_end(size_bytes)),
        data_(records_end(size_bytes), size_bytes - edge_bytes),
        groups_(load.inflight),
        started_ns_(load.inflight),
        window_(monotonic_ns() + load.warm_up_ns, load.measured_ns) {
    std::memset(memory_.data(), 0x5a, memory_.size());
    const iovec whole{memory_.data(), memory_.size()};
    const int failed = io_uring_register_buffers(&ring_.ring(), &whole, 1);
    if (failed < 0) throw failure_of_errno(-failed, "io_uring");
  }

  RunResult run() {
    for (unsigned slot = 0; slot < load_.inflight; ++slot)
      ready_.push_back(slot);
    start_ready();
    while (in_flight_ != 0) {
      ring_.submit_and_wait(way_.busy);
      reap();
      start_ready();
      start_flush();
    }
    if (first_error_ != 0) throw failure_of_errno(first_error_, "bench: a write to the device");
    return result_of(window_, now_ns_, load_);
  }

 private:
  struct Group {
    std::vector<unsigned> slots;
    unsigned writes_left = 0;
  };

  static std::uint64_t records_end(std::uint64_t size_bytes) {
    const std::uint64_t fifth = (size_bytes - 2 * edge_bytes) / 5;
    return edge_bytes + fifth / append_bytes * append_bytes;
  }

  io_uring_sqe& entry() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_.ring());
    if (sqe == nullptr) throw Failure(exit_failed, "io_uring: the ring is smaller than the load");
    ++in_flight_;
    return *sqe;
  }

  void write(unsigned group, unsigned buffer, Area& area) {
    io_uring_sqe& sqe = entry();
    io_uring_prep_write_fixed(&sqe, 0, memory_.data() + std::size_t{buffer} * append_bytes,
                              append_bytes, area.take(), 0);
    if (!way_.flush) sqe.rw_flags = RWF_DSYNC;
    io_uring_sqe_set_flags(&sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(&sqe, group);
    ++groups_[group].writes_left;
  }

  void start_ready() {
    if (window_.closed() || first_error_ != 0 || interrupted_by() != 0) ready_.clear();
    Group* open = nullptr;
    unsigned number = 0;
    now_ns_ = ready_.empty() ? now_ns_ : monotonic_ns();
    for (const unsigned slot : ready_) {
      if (open == nullptr || !way_.shared_record) {
        number = slot;
        open = &groups_[number];
        write(number, load_.inflight + number, records_);
      }
      open->slots.push_back(slot);
      started_ns_[slot] = now_ns_;
      write(number, slot, data_);
    }
    ready_.clear();
  }

  // One at a time: what ended while one is under way shares the next.
  void start_flush() {
    if (written_.empty() || !flushed_.empty()) return;
    io_uring_sqe& sqe = entry();
    io_uring_prep_fsync(&sqe, 0, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_flags(&sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(&sqe, flush_tag);
    flushed_.swap(written_);
  }

  void end_group(unsigned number) {
    for (const unsigned slot : groups_[number].slots) {
      window_.add_end(started_ns_[slot], now_ns_);
      ready_.push_back(slot);
    }
    groups_[number].slots.clear();
  }

  void end(std::uint64_t tag, int result) {
    --in_flight_;
    const int expected = tag == flush_tag ? 0 : static_cast<int>(append_bytes);
    if (result != expected && first_error_ == 0) first_error_ = result < 0 ? -result : EIO;
    if (tag == flush_tag) {
      for (const unsigned number : flushed_)
        end_group(number);
      flushed_.clear();
      return;
    }
    const auto number = static_cast<unsigned>(tag);
    if (--groups_[number].writes_left != 0) return;
    if (way_.flush) {
      written_.push_back(number);
    } else {
      end_group(number);
    }
  }

  void reap() {
    unsigned reaped = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_.ring(), head, cqe) {
      ++reaped;
      now_ns_ = monotonic_ns();
      end(io_uring_cqe_get_data64(cqe), cqe->res);
    }
    io_uring_cq_advance(&ring_.ring(), reaped);
  }

  const AppendLoad& load_;
  const DeviceWay& way_;
  handback::AlignedBuffer memory_;  // Of the data of each slot, then of the record of each group.
  AppendRing ring_;
  Area records_;
  Area data_;
  std::vector<Group> groups_;
  std::vector<std::uint64_t> started_ns_;
  std::vector<unsigned> ready_;    // Slots to be started.
  std::vector<unsigned> written_;  // Groups that wait for a flush.
  std::vector<unsigned> flushed_;  // Groups whose flush is under way.
  MeasuredWindow window_;
  std::uint64_t now_ns_ = 0;
  unsigned in_flight_ = 0;
  int first_error_ = 0;
};

}  // namespace

AppendDevice::AppendDevice(const std::string& path, std::uint64_t bytes_max,
                           const SessionOptions& options) {
  struct stat status {};
  const bool there = stat(path.c_str(), &status) == 0;
  if (there && !S_ISBLK(status.st_mode)) {
    throw Failure(exit_failed, path +
                                   " is there already, and bench would write over it; name a "
                                   "blank block device, or a new file");
  }
  // Room for as much data as a run appends, and a fifth for records.
  const std::uint64_t new_bytes = bytes_max + bytes_max / append_bytes / 4 * append_bytes;
  if (!there) files_.create(path, new_bytes + areas_bytes_min + 2 * edge_bytes);
  bool cached = false;
  {
    const DeviceSession session(path, options);
    size_bytes_ = session.device().geometry().size_bytes;
    cached = session.device().geometry().volatile_cache;
  }
  if (there && !looks_blank(path, size_bytes_)) {
    throw Failure(exit_failed, path + " is not blank, and bench would write over what it holds");
  }
  if (size_bytes_ < areas_bytes_min + 2 * edge_bytes)
    throw Failure(exit_failed, path + " is too small for bench; it takes 18M or more");
  // A block device that somebody has mounted is refused with O_EXCL.
  host_ = HostFd(open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC | (there ? O_EXCL : 0)));
  if (host_.get() < 0) throw failure_of_errno(errno, path);
  place_ = there
               ? fmt::format("bare writes to a block device, write {}", cached ? "back" : "through")
               : "bare writes to a host file on " + file_system_of(path);
}

void AppendDevice::choose_way(const AppendLoad& trial) {
  double best_iops = 0;
  for (const bool flush : {false, true}) {
    for (const bool shared_record : {false, true}) {
      // Alone, an append shares its record with nobody.
      if (shared_record && trial.inflight == 1) continue;
      for (const bool busy : {false, true}) {
        const DeviceWay way{.flush = flush, .shared_record = shared_record, .busy = busy};
        const double iops = DeviceRun(host_.get(), size_bytes_, way, trial).run().iops();
        if (iops <= best_iops) continue;
        best_iops = iops;
        ways_[trial.inflight] = way;
      }
    }
  }
}

RunResult AppendDevice::append(const AppendLoad& load) {
  return DeviceRun(host_.get(), size_bytes_, ways_.at(load.inflight), load).run();
}

std::string AppendDevice::way(unsigned inflight) const {
  const DeviceWay& way = ways_.at(inflight);
  return fmt::format("data and {}, {}{}", way.shared_record ? "a shared record" : "a record each",
                     way.flush ? "then fdatasync" : "RWF_DSYNC",
                     way.busy ? ", looking before it sleeps" : "");
}

}  // namespace tool
