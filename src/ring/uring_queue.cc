#include "ring/uring_queue.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <ctime>

#include "base/assert.h"
#include "base/planted_bug.h"
#include "block/bio_check.h"
#include "block/readable.h"
#include "ring/transfer.h"

namespace handback {
namespace {

// user_data of the wake fd's entry; no bio has this address.
constexpr std::uint64_t wake_tag = 1;

constexpr unsigned sq_cq_overflow = 1U << 1;
constexpr unsigned sq_taskrun = 1U << 2;

constexpr std::size_t pinned_bytes_max = std::size_t{1} << 30;  // The kernel's limit of one region.

// Bio::queue_private while the queue holds a bio: how often it came back without having moved, or
// that it was refused and passes through the ring only to end where all others end.
void* const refused = reinterpret_cast<void*>(~std::uintptr_t{0});

unsigned attempts_of(const Bio& bio) noexcept {
  return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(bio.queue_private));
}
void set_attempts(Bio& bio, unsigned attempts) noexcept {
  bio.queue_private = reinterpret_cast<void*>(static_cast<std::uintptr_t>(attempts));
}

std::int64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Whether entering the ring got something done. Reasons that pass are left to the next attempt.
bool went_on(int count) noexcept {
  if (count >= 0) return count > 0;
  if (count == -EINTR) return true;
  HB_ASSERT(count != -EEXIST, "a queue is used only by the thread that opened it");
  HB_ASSERT(count == -EAGAIN || count == -EBUSY || count == -ENOMEM || count == -ETIME,
            "an open ring can be entered");
  return false;
}

}  // namespace

tl::expected<std::unique_ptr<UringQueue>, int> UringQueue::open(int fd, const Geometry& geometry,
                                                                const UringQueueOptions& options) {
  HB_ASSERT(options.queue_depth >= 1 && options.queue_depth <= uring_queue_depth_max,
            "the depth of a queue is checked when its device is opened");
  auto uring = Uring::open(options.queue_depth + 1, fd, options.allowed);
  if (!uring) return tl::unexpected(uring.error());
  UniqueFd completion_fd;
  if ((*uring)->features().deferred) {
    completion_fd = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!completion_fd.valid()) return tl::unexpected(errno);
  }
  return std::unique_ptr<UringQueue>(
      new UringQueue(std::move(*uring), std::move(completion_fd), fd, geometry, options));
}

UringQueue::UringQueue(std::unique_ptr<Uring> uring, UniqueFd completion_fd, int fd,
                       const Geometry& geometry, const UringQueueOptions& options)
    : uring_(std::move(uring)),
      ring_(uring_->ring()),
      fd_(uring_->features().fixed_file ? 0 : fd),
      geometry_(geometry),
      queue_depth_(options.queue_depth),
      wake_fd_(options.wake_fd),
      busy_wait_(options.busy_wait_ns_max),
      completion_fd_(std::move(completion_fd)),
      regions_(uring_->features().fixed_buffers ? uring_buffer_slots : 0) {}

UringQueue::~UringQueue() {
  HB_ASSERT(at_ring_ == 0 && waiting_.empty(),
            "a queue is closed only when none of its bios is in flight");
}

void UringQueue::submit(Bio* chain) noexcept {
  HB_ASSERT(!ending_, "the end of a bio submits nothing");
  while (chain != nullptr) {
    Bio& bio = *chain;
    chain = bio.next;
    bio.next = nullptr;
    bio.queue_done = 0;
    bio.result = check_bio(geometry_, bio);
    if (bio.result.ok()) {
      set_attempts(bio, 0);
    } else {
      bio.queue_private = refused;
    }
    if (at_ring_ < queue_depth_) {
      start(bio);
    } else {
      waiting_.push(bio);
    }
  }
}

void UringQueue::start(Bio& bio) noexcept {
  ++at_ring_;
  prepare(bio);
}

void UringQueue::prepare(Bio& bio) noexcept {
  io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
  HB_ASSERT(entry != nullptr, "every bio at the ring has an entry");
  if (bio.queue_private == refused) {
    io_uring_prep_nop(entry);
  } else if (bio.op == BioOp::flush) {
    io_uring_prep_fsync(entry, fd_, IORING_FSYNC_DATASYNC);
    if (features().fixed_file) entry->flags |= IOSQE_FIXED_FILE;
  } else {
    prepare_transfer(*entry, bio);
  }
  io_uring_sqe_set_data(entry, &bio);
}

void UringQueue::prepare_transfer(io_uring_sqe& entry, Bio& bio) noexcept {
  const bool is_read = bio.op == BioOp::read;
  const std::uint64_t addr = bio.addr + bio.queue_done;
  if (bio.segment_count > 1 && bio.queue_done == 0) {
    io_uring_prep_rw(is_read ? IORING_OP_READV : IORING_OP_WRITEV, &entry, fd_, bio.segments,
                     bio.segment_count, addr);
  } else {
    // A transfer that came back short goes on segment by segment: the bio's own segments stay as
    // they are.
    const iovec segment =
        bio.queue_done == 0 ? bio.segments[0] : rest_of_segment(bio, bio.queue_done);
    const auto length = static_cast<unsigned>(segment.iov_len);
    const int slot = regions_.find(segment.iov_base, segment.iov_len);
    if (slot == PinnedRegions::none) {
      io_uring_prep_rw(is_read ? IORING_OP_READ : IORING_OP_WRITE, &entry, fd_, segment.iov_base,
                       length, addr);
    } else {
      io_uring_prep_rw(is_read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED, &entry, fd_,
                       segment.iov_base, length, addr);
      entry.buf_index = static_cast<std::uint16_t>(slot);
    }
  }
  entry.ioprio = bio.ioprio;
  if (bio.fua) entry.rw_flags = RWF_DSYNC;
  if (features().fixed_file) entry.flags |= IOSQE_FIXED_FILE;
}

void UringQueue::kick() noexcept {
  while (io_uring_sq_ready(&ring_) != 0 && went_on(io_uring_submit(&ring_))) {
  }
}

bool UringQueue::must_enter() const noexcept {
  return (IO_URING_READ_ONCE(*ring_.sq.kflags) & (sq_taskrun | sq_cq_overflow)) != 0;
}

bool UringQueue::fetch() noexcept {
  return io_uring_get_events(&ring_) >= 0 && io_uring_cq_ready(&ring_) != 0;
}

unsigned UringQueue::poll() noexcept {
  // One system call hands over what was held back and fetches completions; none if there is
  // neither.
  if (io_uring_sq_ready(&ring_) != 0 && went_on(io_uring_submit_and_get_events(&ring_))) kick();
  unsigned ended = reap();
  // What is left in the kernel is fetched by the system call that hands over the next batch; here
  // only if otherwise nothing would be found.
  if (ended == 0 && must_enter() && fetch()) ended = reap();
  return ended;
}

unsigned UringQueue::reap() noexcept {
  HB_ASSERT(!ending_, "the end of a bio does not poll");
  ending_ = true;
  unsigned ended = 0;
  unsigned seen = 0;
  unsigned head = 0;
  io_uring_cqe* done = nullptr;
  io_uring_for_each_cqe(&ring_, head, done) {
    ++seen;
    const std::uint64_t tag = io_uring_cqe_get_data64(done);
    if (tag == wake_tag) {
      HB_ASSERT(done->res >= 0, "the wake fd stays open as long as the queue");
      wake_armed_ = false;
      continue;
    }
    Bio& bio = *reinterpret_cast<Bio*>(static_cast<std::uintptr_t>(tag));
    if (!settle(bio, done->res)) continue;
    --at_ring_;
    ++ended;
    bio.end_io(bio);
  }
  io_uring_cq_advance(&ring_, seen);
  ending_ = false;
  while (at_ring_ < queue_depth_ && !waiting_.empty() &&
         !planted(PlantedBug::queue_forgets_what_waits))
    start(*waiting_.pop());
  return ended;
}

bool UringQueue::settle(Bio& bio, int count) noexcept {
  if (bio.queue_private == refused) return true;
  if (count < 0) {
    if ((count == -EAGAIN || count == -EINTR) && attempts_of(bio) < transfer_retries_max) {
      set_attempts(bio, attempts_of(bio) + 1);
      prepare(bio);
      return false;
    }
    bio.result = IoResult::host_failure(-count, bio.queue_done);
    return true;
  }
  const std::uint32_t done = bio.op == BioOp::flush
                                 ? 0
                                 : advance(bio.queue_done, static_cast<std::uint32_t>(count),
                                           geometry_.logical_block_bytes);
  if (done == bio.length || planted(PlantedBug::short_transfer_counts_as_whole)) [[likely]] {
    bio.result = IoResult::success(bio.length);
    return true;
  }
  if (done == bio.queue_done) {
    bio.result = short_transfer(done);
    return true;
  }
  bio.queue_done = done;
  set_attempts(bio, 0);
  prepare(bio);
  return false;
}

void UringQueue::arm_wake() noexcept {
  io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
  HB_ASSERT(entry != nullptr, "the wake fd has an entry of its own");
  // Once, not multishot: arming anew before each sleep looks at the fd again, so that a wake fd
  // that is still readable ends that sleep at once; a multishot poll would only tell of the next
  // write.
  io_uring_prep_poll_add(entry, wake_fd_, POLLIN);
  io_uring_sqe_set_data64(entry, wake_tag);
  wake_armed_ = true;
}

void UringQueue::wait(std::int64_t timeout_ns) noexcept {
  if (timeout_ns == 0 || io_uring_cq_ready(&ring_) != 0) {
    kick();
    return;
  }
  if (timeout_ns < 0 && at_ring_ == 0 && wake_fd_ < 0) return;  // Nothing could end the sleep.
  // Without a bio the wait is for other threads, whose pace says nothing about the device.
  if (!busy_wait_.enabled() || at_ring_ == 0) {
    sleep(timeout_ns);
    return;
  }
  const std::int64_t began_ns = monotonic_ns();
  std::int64_t budget_ns = busy_wait_.budget_ns();
  if (timeout_ns > 0) budget_ns = std::min(budget_ns, timeout_ns);
  if (!look_for(began_ns, budget_ns)) {
    if (timeout_ns > 0) timeout_ns = std::max<std::int64_t>(1, timeout_ns - budget_ns);
    sleep(timeout_ns);
  }
  // A wait that its limit ended says nothing about the device, unless it was long.
  const std::int64_t waited_ns = monotonic_ns() - began_ns;
  if (io_uring_cq_ready(&ring_) != 0 || !busy_wait_.is_short(waited_ns))
    busy_wait_.waited(waited_ns);
}

bool UringQueue::look_for(std::int64_t since_ns, std::int64_t limit_ns) noexcept {
  if (limit_ns == 0) return false;
  if (wake_fd_ >= 0 && !wake_armed_) arm_wake();
  kick();
  // Each look is a system call, in which the kernel may also let others run.
  while (!fetch()) {
    if (monotonic_ns() - since_ns >= limit_ns) return false;
  }
  return true;
}

void UringQueue::sleep(std::int64_t timeout_ns) noexcept {
  if (!features().timed_wait) {
    kick();
    if (io_uring_sq_ready(&ring_) == 0) sleep_until_readable(ring_.ring_fd, wake_fd_, timeout_ns);
    return;
  }
  if (wake_fd_ >= 0 && !wake_armed_) arm_wake();
  __kernel_timespec timeout{};
  timeout.tv_sec = timeout_ns / 1'000'000'000;
  timeout.tv_nsec = timeout_ns % 1'000'000'000;
  io_uring_cqe* first = nullptr;
  went_on(io_uring_submit_and_wait_timeout(&ring_, &first, 1, timeout_ns < 0 ? nullptr : &timeout,
                                           nullptr));
}

int UringQueue::wait_fd() noexcept {
  // A ring that defers completions until its issuer enters it does not wake who polls its
  // descriptor: nobody runs the work that would (seen on Linux 6.18). It does write to an eventfd.
  if (!completion_fd_.valid()) return ring_.ring_fd;
  const int fd = completion_fd_.get();
  eventfd_t told_before = 0;
  ::eventfd_read(fd, &told_before);
  // What the kernel told before that read is fetched here; what it tells afterwards stays to be
  // read.
  const bool told_always = completion_fd_registered_;
  if (!told_always) completion_fd_registered_ = io_uring_register_eventfd(&ring_, fd) == 0;
  if (!told_always || must_enter()) fetch();
  // Without a registration, for which the host may lack memory, the owner does not sleep and asks
  // again.
  if (io_uring_cq_ready(&ring_) != 0 || !completion_fd_registered_) ::eventfd_write(fd, 1);
  return fd;
}

bool UringQueue::register_buffer(std::span<std::byte> memory) noexcept {
  if (!features().fixed_buffers || memory.empty() || memory.size() > pinned_bytes_max) return false;
  const int slot = regions_.add(memory);
  if (slot == PinnedRegions::none) return false;
  const iovec region{memory.data(), memory.size()};
  const int updated = io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(slot),
                                                           &region, nullptr, 1);
  if (updated == 1) return true;
  regions_.remove(memory);
  return false;
}

void UringQueue::unregister_buffer(std::span<std::byte> memory) noexcept {
  const int slot = regions_.remove(memory);
  if (slot == PinnedRegions::none) return;
  const iovec nothing{nullptr, 0};
  io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(slot), &nothing, nullptr, 1);
}

}  // namespace handback
