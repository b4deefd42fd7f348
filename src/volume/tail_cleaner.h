// Zeroes the bytes between a file's end and the end of its last block, before the file grows past
// them.
//
// Reads the logical block that the end lies in, if it lies inside one, and writes the rest of the
// fs block. Owner: the caller, until it ended. Thread class: its issuer's thread.
#pragma once

#include <handback/bio_group.h>
#include <memory>

#include "issuer/issuer_impl.h"
#include "volume/metadata.h"

namespace handback {

class TailCleaner {
 public:
  using Ended = void (*)(TailCleaner& cleaner, void* owner) noexcept;

  // The caller keeps requests off the file's block at `held_offset` (bytes) until it ended. If the
  // end has moved to another block meanwhile, or the tail is clean, there is nothing to do.
  TailCleaner(Issuer::Impl& issuer, BlockDevice& device, Inode& inode, std::uint64_t held_offset);

  // `ended` runs in issuer context (at once, if there is nothing to do). Marks the tail clean on
  // success; the zeros are durable then: the record that makes the file longer may be on its way
  // to the device with the first byte behind them, and must not come alone.
  void start(Ended ended, void* owner) noexcept;
  IoResult run_and_wait() noexcept;
  [[nodiscard]] IoResult result() const noexcept { return result_; }
  // What failed was a flush: then nothing that was in the cache may be called durable ever after.
  [[nodiscard]] bool flush_failed() const noexcept { return flushing_ && !result_.ok(); }

 private:
  static void step_ended(BioGroup& group, void* owner) noexcept;
  void write() noexcept;
  void flush() noexcept;
  void finish(IoResult result) noexcept;

  Issuer::Impl& issuer_;
  BlockDevice& device_;
  Inode& inode_;
  std::uint64_t addr_ = 0;      // Device byte of buffer_'s start.
  std::size_t keep_bytes_ = 0;  // At its start: the file's last bytes.
  AlignedBuffer buffer_;
  std::size_t length_ = 0;  // Of it in use; 0: nothing to do.
  bool reading_ = false;
  bool flushing_ = false;
  bool owner_waits_ = false;
  bool elsewhere_ = false;
  std::unique_ptr<BioGroup> group_;
  Ended ended_ = nullptr;
  void* owner_ = nullptr;
  IoResult result_;
};

}  // namespace handback
