#include "volume/tail_cleaner.h"

#include <cstring>

#include "base/align.h"
#include "base/planted_bug.h"
#include "volume/format.h"
#include "volume/open_inode.h"

namespace handback {

TailCleaner::TailCleaner(Issuer::Impl& issuer, BlockDevice& device, Inode& inode,
                         std::uint64_t held_offset)
    : issuer_(issuer), device_(device), inode_(inode) {
  const std::lock_guard guard(inode.map_lock);
  const std::uint64_t size = inode.size_bytes.load(std::memory_order_relaxed);
  const std::uint64_t within = size % fs_block;
  if (within == 0 || !inode.open->tail_unclean.load(std::memory_order_relaxed)) return;
  if (size - within != held_offset) {
    // The tail of another block, which is not held: whoever needs that one clean comes again.
    elsewhere_ = true;
    return;
  }
  const ExtentMap::Lookup last = inode.extents.lookup(size / fs_block);
  // What was never written reads as zeros anyway.
  if (last.hole || last.extent.unwritten) return;
  const std::uint64_t block_addr = (last.extent.addr + (size / fs_block - last.offset)) * fs_block;
  const std::uint64_t from = round_down(within, device.geometry().logical_block_bytes);
  addr_ = block_addr + from;
  keep_bytes_ = within - from;
  length_ = fs_block - from;
  if (planted(PlantedBug::tail_cleaned_short) && length_ > device.geometry().logical_block_bytes)
    length_ -= device.geometry().logical_block_bytes;
  buffer_ = AlignedBuffer(length_);
}

void TailCleaner::start(Ended ended, void* owner) noexcept {
  ended_ = ended;
  owner_ = owner;
  if (length_ == 0) {
    finish(IoResult::success(0));
    return;
  }
  if (keep_bytes_ == 0) {
    write();
    return;
  }
  reading_ = true;
  group_ = std::make_unique<BioGroup>(issuer_.self(), device_);
  if (owner_waits_) group_->keep_to_owner();
  group_->read(addr_, buffer_.span().first(device_.geometry().logical_block_bytes));
  group_->start(&TailCleaner::step_ended, this);
}

void TailCleaner::write() noexcept {
  std::memset(buffer_.data() + keep_bytes_, 0, length_ - keep_bytes_);
  group_ = std::make_unique<BioGroup>(issuer_.self(), device_);
  if (owner_waits_) group_->keep_to_owner();
  group_->write(addr_, buffer_.span().first(length_),
                device_.geometry().fua && !planted(PlantedBug::tail_zeros_left_in_the_cache));
  group_->start(&TailCleaner::step_ended, this);
}

void TailCleaner::flush() noexcept {
  flushing_ = true;
  group_ = std::make_unique<BioGroup>(issuer_.self(), device_);
  if (owner_waits_) group_->keep_to_owner();
  group_->flush();
  group_->start(&TailCleaner::step_ended, this);
}

void TailCleaner::step_ended(BioGroup& group, void* owner) noexcept {
  auto& cleaner = *static_cast<TailCleaner*>(owner);
  const IoResult result = group.result();
  group.keep_if_unanswered(cleaner.buffer_);
  if (result.ok() && cleaner.reading_) {
    cleaner.reading_ = false;
    cleaner.write();
    return;
  }
  const Geometry& geometry = cleaner.device_.geometry();
  if (result.ok() && geometry.volatile_cache && !geometry.fua && !cleaner.flushing_ &&
      !planted(PlantedBug::tail_zeros_left_in_the_cache)) {
    cleaner.flush();
    return;
  }
  cleaner.finish(result);
}

void TailCleaner::finish(IoResult result) noexcept {
  result_ = result;
  if (result.ok() && !elsewhere_) inode_.open->tail_unclean.store(false, std::memory_order_relaxed);
  ended_(*this, owner_);
}

IoResult TailCleaner::run_and_wait() noexcept {
  bool done = false;
  owner_waits_ = true;
  start([](TailCleaner&, void* flag) noexcept { *static_cast<bool*>(flag) = true; }, &done);
  issuer_.wait_until([&] { return done; });
  return result_;
}

}  // namespace handback
