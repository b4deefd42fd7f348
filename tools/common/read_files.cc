#include "common/read_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/transfer_ring.h"

namespace tool {
namespace {

struct Range {
  std::uint64_t offset = 0;
  std::uint64_t end = 0;
};

// Parts of the file to be read, in order; none is empty.
std::deque<Range> ranges_of(const handback::VolumeFile& file, std::uint64_t size_bytes,
                            bool skips_holes) {
  std::deque<Range> ranges;
  if (!skips_holes) {
    if (size_bytes != 0) ranges.push_back({0, size_bytes});
    return ranges;
  }
  for (const auto& extent : file.extents()) {
    const std::uint64_t end = std::min(extent.offset + extent.length, size_bytes);
    if (extent.unwritten || extent.offset >= end) continue;
    if (!ranges.empty() && ranges.back().end == extent.offset) {
      ranges.back().end = end;
    } else {
      ranges.push_back({extent.offset, end});
    }
  }
  return ranges;
}

struct ReadJob {
  std::size_t index = 0;
  std::unique_ptr<handback::VolumeFile> file;
  std::deque<Range> ranges;  // What is left to be claimed.
  std::uint64_t unreleased = 0;
  bool begun = false;

  [[nodiscard]] bool all_claimed() const { return ranges.empty(); }
};

class FileReading {
 public:
  FileReading(handback::Volume& volume, handback::Issuer& issuer,
              const std::vector<std::string>& paths, FileSink& sink)
      : volume_(volume),
        issuer_(issuer),
        paths_(paths),
        sink_(sink),
        logical_block_(volume.device().geometry().logical_block_bytes),
        ring_(issuer) {}

  void run() {
    for (;;) {
      while (!ring_.full() && claim_next()) {
      }
      if (ring_.empty()) break;
      release_oldest();
    }
    if (interrupted_by() == 0) finish_jobs();
  }

 private:
  bool claim_next() {
    if (interrupted_by() != 0) return false;
    while (jobs_.empty() || jobs_.back().all_claimed()) {
      if (next_index_ == paths_.size()) return false;
      open_job(next_index_++);
    }
    ReadJob& job = jobs_.back();
    Transfer& transfer = ring_.claim();
    ++job.unreleased;
    Range& range = job.ranges.front();
    transfer.offset = range.offset;
    transfer.length = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(ring_.transfer_bytes(), range.end - range.offset));
    range.offset += transfer.length;
    if (range.offset == range.end) job.ranges.pop_front();
    const std::uint32_t request_bytes =
        (transfer.length + logical_block_ - 1) / logical_block_ * logical_block_;
    ring_.submit_read(transfer, *job.file, request_bytes);
    return true;
  }

  void open_job(std::size_t index) {
    if (!sink_.wants(index)) return;
    ReadJob job;
    job.index = index;
    job.file = value_of(volume_.open_file(issuer_, paths_[index]), paths_[index]);
    job.ranges = ranges_of(*job.file, job.file->size(), sink_.skips_holes());
    jobs_.push_back(std::move(job));
    finish_jobs();
  }

  void release_oldest() {
    const Transfer& transfer = ring_.oldest();
    ReadJob& job = jobs_.front();
    begin(job);
    const std::string& path = paths_[job.index];
    if (!transfer.result.ok()) throw failure_of(transfer.result, path);
    if (transfer.result.bytes() < transfer.length) {
      throw Failure(exit_device,
                    fmt::format("{}: a read at {} ended after {} of {} bytes; run handback check",
                                path, transfer.offset, transfer.result.bytes(), transfer.length));
    }
    sink_.data(job.index, transfer.offset, transfer.buffer.first(transfer.length));
    ring_.release_oldest();
    --job.unreleased;
    finish_jobs();
  }

  void begin(ReadJob& job) {
    if (!job.begun) sink_.begin(job.index);
    job.begun = true;
  }

  void finish_jobs() {
    while (!jobs_.empty() && jobs_.front().unreleased == 0 && jobs_.front().all_claimed()) {
      begin(jobs_.front());
      sink_.end(jobs_.front().index);
      jobs_.pop_front();
    }
  }

  handback::Volume& volume_;
  handback::Issuer& issuer_;
  const std::vector<std::string>& paths_;
  FileSink& sink_;
  const std::uint32_t logical_block_;
  std::size_t next_index_ = 0;
  std::deque<ReadJob> jobs_;
  TransferRing ring_;  // Last: its destructor waits for transfers from files of `jobs_`.
};

}  // namespace

void read_files(handback::Volume& volume, handback::Issuer& issuer,
                const std::vector<std::string>& volume_paths, FileSink& sink) {
  FileReading(volume, issuer, volume_paths, sink).run();
}

}  // namespace tool
