// An open file: its mapper and its part of settling.
#pragma once

#include <handback/iomap.h>
#include <handback/volume.h>

#include "volume/volume_impl.h"

namespace handback {

struct VolumeFile::Impl final : IomapOps, DioOps {
  Impl(VolumeImpl& of, Inode& opened)
      // Checksums are behind a lock, and take time: both are nothing for device context.
      : DioOps({.name = "volume file", .pure = of.has_checksums() ? Acts::lock : Acts::none}),
        volume(of),
        inode(opened) {}
  ~Impl() { volume.release_inode(inode); }

  // Takes the position, makes way at the tail if need be, and starts the write.
  Outcome place_and_start(Kiocb& kiocb, IovView from) noexcept;
  // The same for a write that has its position.
  Outcome start_placed(Kiocb& kiocb, IovView from) noexcept;
  [[nodiscard]] DioRequest dio_request(bool tell_start = false) noexcept;
  // Whether a DSYNC write of these bytes needs metadata to be read back; a guess, which may be
  // wrong by the time the write starts.
  [[nodiscard]] bool needs_metadata(const Kiocb& kiocb, std::uint64_t length) const noexcept;
  enum class Resize : std::uint8_t { exactly, at_least };
  Result<void> truncate(Issuer& issuer, std::uint64_t size, Resize resize = Resize::exactly);
  Result<void> preallocate(Issuer& issuer, std::uint64_t offset, std::uint64_t length,
                           const PreallocateOptions& options);
  // Whole blocks, reserved and written with zeros where nothing was written.
  Result<void> initialise(Issuer& issuer, std::uint64_t offset, std::uint64_t length);
  enum class Hole : std::uint8_t { freed, kept };
  // punch and zero_range: reads as zeros, and the blocks are freed or kept.
  Result<void> make_hole(Issuer& issuer, std::uint64_t offset, std::uint64_t length, Hole hole);
  static void way_made(CommitWaiter& waiter, IoResult result) noexcept;
  static void flush_failed(Kiocb& kiocb, IoResult error) noexcept;
  static void commit_ended(CommitWaiter& waiter, IoResult committed) noexcept;
  static void flush_after_commit(IssuerWork& work) noexcept;

  IoResult iomap_begin(Kiocb& kiocb, const IomapRequest& request, Iomap* iomap) noexcept override;
  Outcome make_way(Kiocb& kiocb, IoResult refused) noexcept override;
  IoResult begin_data(Kiocb& kiocb, const DioStart& start) noexcept override;
  std::uint64_t write_start(Kiocb& kiocb, const DioStart& start) noexcept override;
  void data_ended(Kiocb& kiocb, std::uint64_t token, bool ok) noexcept override;
  [[nodiscard]] std::uint64_t size_bytes_max() const noexcept override {
    return file_size_bytes_max;
  }
  [[nodiscard]] std::uint32_t fs_block_bytes() const noexcept override { return fs_block; }
  Outcome end_io(Kiocb& kiocb, const DioEnd& end) noexcept override;
  Outcome write_sync(Kiocb& kiocb, const DioEnd& end) noexcept override;
  [[nodiscard]] bool is_extending(std::uint64_t end_offset) const noexcept override {
    return end_offset > inode.size_bytes.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool gap_unprepared() const noexcept override;
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override {
    return inode.size_bytes.load(std::memory_order_acquire);
  }

  VolumeImpl& volume;
  Inode& inode;
};

}  // namespace handback
