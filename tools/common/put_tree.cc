#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>

#include "common/copy_tree.h"
#include "common/failure.h"
#include "common/host_fd.h"
#include "common/interrupt.h"
#include "common/paths.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/transfer_ring.h"

namespace tool {
namespace {

std::uint64_t round_up(std::uint64_t bytes, std::uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// A file that is being copied: opened, with transfers in the ring.
struct PutJob {
  const HostFile* item = nullptr;
  HostFd host;
  std::unique_ptr<handback::VolumeFile> file;
  std::uint64_t size_bytes = 0;  // When it was opened.
  std::int64_t mtime_ns = 0;
  std::uint64_t next_offset = 0;  // Of the next transfer.
  std::uint64_t unreleased = 0;   // Transfers in the ring.
  bool failed = false;

  [[nodiscard]] bool all_claimed() const { return failed || next_offset >= size_bytes; }
};

class Put {
 public:
  Put(handback::Volume& volume, handback::Issuer& issuer, const HostTree& tree,
      const CopyWatcher& watcher)
      : volume_(volume),
        issuer_(issuer),
        tree_(tree),
        watcher_(watcher),
        logical_block_(volume.device().geometry().logical_block_bytes),
        ring_(issuer) {}

  CopyReport run() {
    const std::uint64_t started_ns = monotonic_ns();
    report_.skipped = tree_.skipped;
    report_.failed = tree_.failed;
    progress_.total_bytes = tree_.bytes;
    require_space();
    for (const auto& directory : tree_.directories)
      make_directory(directory);
    for (;;) {
      while (!ring_.full() && claim_next()) {
      }
      if (ring_.empty()) break;
      release_oldest();
    }
    report_.signal = interrupted_by();
    report_.elapsed_ns = monotonic_ns() - started_ns;
    return report_;
  }

 private:
  // What is to be replaced counts as free: its blocks are, after the next commit.
  void require_space() {
    const handback::VolumeInfo info = volume_.info();
    std::uint64_t needed = 0;
    std::uint64_t replaced = 0;
    for (const auto& item : tree_.files) {
      const auto existing = volume_.stat(item.volume_path);
      if (existing && is_present(item, *existing)) continue;
      needed += round_up(item.size_bytes, info.fs_block_bytes);
      if (existing) replaced += existing->allocated_bytes;
    }
    if (needed <= info.free_bytes + replaced) return;
    throw Failure(
        exit_no_space,
        fmt::format("no space: {} are to be copied and the volume has {} free; remove files "
                    "from it, or format a larger one",
                    human_size(needed), human_size(info.free_bytes + replaced)));
  }

  static bool is_present(const HostFile& item, const handback::FileInfo& existing) {
    return existing.type == handback::FileType::regular && existing.size_bytes == item.size_bytes &&
           existing.mtime_ns == item.mtime_ns;
  }

  void make_directory(const std::string& path) {
    const auto existing = volume_.stat(path);
    if (existing && existing->type == handback::FileType::directory) return;
    make_directories(volume_, path);
    ++report_.directories;
  }

  // Puts one more transfer into the ring. False when there is nothing more to claim.
  bool claim_next() {
    while (jobs_.empty() || jobs_.back().all_claimed()) {
      if (next_item_ == tree_.files.size() || interrupted_by() != 0) return false;
      open_job(tree_.files[next_item_++]);
    }
    // What is in flight ends; nothing new begins.
    if (interrupted_by() != 0) return false;
    PutJob& job = jobs_.back();
    Transfer& transfer = ring_.claim();
    ++job.unreleased;
    transfer.offset = job.next_offset;
    transfer.length = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(ring_.transfer_bytes(), job.size_bytes - job.next_offset));
    job.next_offset += transfer.length;
    const bool filled = fill(job, transfer);
    // Jobs may wait in line for long; open files of the host are few.
    if (job.all_claimed()) job.host = HostFd();
    if (!filled) {
      transfer.state = Transfer::State::delivered;
      return true;
    }
    const std::uint32_t request_bytes = padded(transfer.length);
    std::memset(transfer.buffer.data() + transfer.length, 0, request_bytes - transfer.length);
    ring_.submit_write(transfer, *job.file, request_bytes);
    return true;
  }

  [[nodiscard]] std::uint32_t padded(std::uint32_t length) const {
    return static_cast<std::uint32_t>(round_up(length, logical_block_));
  }

  bool fill(PutJob& job, const Transfer& transfer) {
    const std::string error =
        job.host.read_all(transfer.buffer.first(transfer.length), transfer.offset);
    if (error.empty()) return true;
    fail_job(job, error);
    return false;
  }

  void fail_job(PutJob& job, const std::string& reason) {
    if (!job.failed) report_.failed.push_back({job.item->host_path, reason});
    job.failed = true;
  }

  void open_job(const HostFile& item) {
    const auto existing = volume_.stat(item.volume_path);
    if (existing && is_present(item, *existing)) {
      ++report_.files_present;
      report_.bytes_present += item.size_bytes;
      progress_.total_bytes -= item.size_bytes;
      return;
    }
    if (existing && existing->type == handback::FileType::directory) {
      report_.failed.push_back(
          {item.host_path, item.volume_path + " is a directory of the volume; remove it first"});
      return;
    }
    PutJob job;
    job.item = &item;
    struct stat status {};
    do {
      job.host = HostFd(open(item.host_path.c_str(), O_RDONLY | O_CLOEXEC));
    } while (job.host.get() < 0 && errno == EINTR && interrupted_by() == 0);
    // The user stopped the copy, so this file did not fail.
    if (job.host.get() < 0 && errno == EINTR) return;
    if (job.host.get() < 0 || fstat(job.host.get(), &status) != 0) {
      report_.failed.push_back({item.host_path, std::strerror(errno)});
      return;
    }
    // The file may have changed since the tree was read: what is copied is what was opened.
    job.size_bytes = static_cast<std::uint64_t>(status.st_size);
    job.mtime_ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
    if (!existing) make_directories(volume_, parent_path(item.volume_path));
    job.file = value_of(volume_.open_file(issuer_, item.volume_path,
                                          {.create = true, .exclusive = false, .truncate = true}),
                        item.volume_path);
    if (job.all_claimed()) job.host = HostFd();
    jobs_.push_back(std::move(job));
    finish_jobs();
  }

  void release_oldest() {
    PutJob& job = jobs_.front();
    Transfer& transfer = oldest_with_space(job);
    if (!job.failed) {
      if (!transfer.result.ok()) throw failure_of(transfer.result, job.item->volume_path);
      report_.bytes += transfer.length;
      progress_.done_bytes += transfer.length;
    }
    ring_.release_oldest();
    --job.unreleased;
    finish_jobs();
    if (watcher_) watcher_(progress_);
  }

  // Blocks of files that were replaced can be used again after the next commit. A write that came
  // too early is repeated after one.
  Transfer& oldest_with_space(PutJob& job) {
    Transfer& transfer = ring_.oldest();
    if (job.failed || transfer.repeated || transfer.result.code() != handback::Errc::no_space) {
      return transfer;
    }
    value_of(volume_.sync(issuer_), job.item->volume_path);
    transfer.repeated = true;
    ring_.submit_write(transfer, *job.file, padded(transfer.length));
    return ring_.oldest();
  }

  // Transfers come back in order, so jobs end in order.
  void finish_jobs() {
    while (!jobs_.empty() && jobs_.front().unreleased == 0 && jobs_.front().all_claimed()) {
      PutJob& job = jobs_.front();
      const std::string& path = job.item->volume_path;
      if (!job.failed) {
        // The last request was padded to a logical block.
        if (job.size_bytes % logical_block_ != 0) {
          value_of(job.file->truncate(issuer_, job.size_bytes), path);
        }
        value_of(job.file->set_mtime(job.mtime_ns), path);
        ++report_.files;
      }
      jobs_.pop_front();
    }
  }

  handback::Volume& volume_;
  handback::Issuer& issuer_;
  const HostTree& tree_;
  const CopyWatcher& watcher_;
  const std::uint32_t logical_block_;
  CopyReport report_;
  CopyProgress progress_;
  std::size_t next_item_ = 0;
  std::deque<PutJob> jobs_;  // Only the last may have more to claim.
  TransferRing ring_;        // Last: its destructor waits for transfers to files of `jobs_`.
};

}  // namespace

CopyReport put_tree(handback::Volume& volume, handback::Issuer& issuer, const HostTree& tree,
                    const CopyWatcher& watcher) {
  return Put(volume, issuer, tree, watcher).run();
}

}  // namespace tool
