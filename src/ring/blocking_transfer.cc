#include "ring/blocking_transfer.h"

#include <linux/fs.h>
#include <linux/ioprio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "block/bio_check.h"
#include "ring/transfer.h"

namespace handback {
namespace {

// 0, or the errno. The priority of a transfer is that of the thread which makes it.
int take_priority(std::uint16_t ioprio) noexcept {
  static thread_local std::uint16_t current = 0;
  if (ioprio == current) return 0;
  constexpr int who_thread = 1;
  if (::syscall(SYS_ioprio_set, who_thread, 0, ioprio) != 0) return errno;
  current = ioprio;
  return 0;
}

// The segments of `bio` from `done_bytes` on. Returns how many.
int rest_of_segments(const Bio& bio, std::uint32_t done_bytes,
                     iovec (&rest)[bio_segments_max]) noexcept {
  int count = 0;
  std::uint32_t passed = 0;
  for (unsigned i = 0; i < bio.segment_count; ++i) {
    const auto length = static_cast<std::uint32_t>(bio.segments[i].iov_len);
    if (passed + length > done_bytes) {
      rest[count++] = done_bytes <= passed ? bio.segments[i] : rest_of_segment(bio, done_bytes);
    }
    passed += length;
  }
  return count;
}

}  // namespace

IoResult BlockingTransfer::carry_out(const Bio& bio) noexcept {
  if (const IoResult verdict = check_bio(geometry_, bio); !verdict.ok()) return verdict;
  if (bio.op == BioOp::flush) return flush(0);
  if (const int error = take_priority(bio.ioprio); error != 0) return IoResult::host_failure(error);
  return transfer(bio);
}

IoResult BlockingTransfer::transfer(const Bio& bio) noexcept {
  std::uint32_t done_bytes = 0;
  unsigned attempts = 0;
  while (done_bytes < bio.length) {
    const ssize_t count = transfer_once(bio, done_bytes);
    if (count < 0) {
      if (errno == EOPNOTSUPP && bio.fua && has_dsync_.exchange(false)) continue;
      if ((errno == EINTR || errno == EAGAIN) && ++attempts <= transfer_retries_max) continue;
      return IoResult::host_failure(errno, done_bytes);
    }
    const std::uint32_t now =
        advance(done_bytes, static_cast<std::uint32_t>(count), geometry_.logical_block_bytes);
    if (now == done_bytes) return short_transfer(done_bytes);
    done_bytes = now;
    attempts = 0;
  }
  if (bio.fua && !has_dsync_.load(std::memory_order_relaxed)) return flush(done_bytes);
  return IoResult::success(done_bytes);
}

ssize_t BlockingTransfer::transfer_once(const Bio& bio, std::uint32_t done_bytes) noexcept {
  iovec rest[bio_segments_max];
  const int count = rest_of_segments(bio, done_bytes, rest);
  const auto addr = static_cast<off_t>(bio.addr + done_bytes);
  if (bio.op == BioOp::read) return ::preadv2(fd_, rest, count, addr, 0);
  const bool dsync = bio.fua && has_dsync_.load(std::memory_order_relaxed);
  return ::pwritev2(fd_, rest, count, addr, dsync ? RWF_DSYNC : 0);
}

IoResult BlockingTransfer::flush(std::uint32_t done_bytes) noexcept {
  while (::fdatasync(fd_) != 0) {
    if (errno != EINTR) return IoResult::host_failure(errno, 0);
  }
  return IoResult::success(done_bytes);
}

}  // namespace handback
