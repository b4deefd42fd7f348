// An open file: its mapper and its part of settling.
#pragma once

#include <handback/iomap.h>
#include <handback/volume.h>

#include "volume/volume_impl.h"

namespace handback {

struct VolumeFile::Impl final : IomapOps, DioOps {
  Impl(VolumeImpl& of, Inode& opened)
      : DioOps({.name = "volume file"}), volume(of), inode(opened) {}
  ~Impl() { volume.release_inode(inode); }

  // Takes the position, makes way at the tail if need be, and starts the write.
  Outcome place_and_start(Kiocb& kiocb, IovView from) noexcept;
  // The same for a write that has its position.
  Outcome start_placed(Kiocb& kiocb, IovView from) noexcept;
  [[nodiscard]] DioRequest dio_request() noexcept;
  // The place of an APPEND, taken; or where the write would end beyond the largest file.
  IoResult take_position(Kiocb& kiocb, std::uint64_t length) noexcept;
  void append_ended() noexcept;
  [[nodiscard]] bool tail_in_the_way(const Kiocb& kiocb) const noexcept;
  Result<void> truncate(Issuer& issuer, std::uint64_t size);
  static void flush_failed(Kiocb& kiocb, IoResult error) noexcept;
  static void commit_ended(CommitWaiter& waiter, IoResult committed) noexcept;
  static void flush_after_commit(IssuerWork& work) noexcept;

  IoResult iomap_begin(Kiocb& kiocb, const IomapRequest& request, Iomap* iomap) noexcept override;
  [[nodiscard]] std::uint32_t fs_block_bytes() const noexcept override { return fs_block; }
  Outcome end_io(Kiocb& kiocb, const DioEnd& end) noexcept override;
  Outcome write_sync(Kiocb& kiocb, const DioEnd& end) noexcept override;
  [[nodiscard]] bool is_extending(std::uint64_t end_offset) const noexcept override {
    return end_offset > inode.size_bytes.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override {
    return inode.size_bytes.load(std::memory_order_acquire);
  }

  VolumeImpl& volume;
  Inode& inode;
};

}  // namespace handback
