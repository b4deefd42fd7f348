// An open file: its mapper and its part of settling.
#pragma once

#include <handback/iomap.h>
#include <handback/volume.h>

#include <optional>

#include "pagecache/address_space.h"
#include "volume/volume_impl.h"

namespace handback {

class CachedInode;

struct VolumeFile::Impl : IomapOps, DioOps {
  // Whether it is one of the inode's handles, and gives one up.
  enum class Counted : bool { no, yes };
  Impl(VolumeImpl& of, Inode& opened, Counted is_counted = Counted::yes)
      // Checksums are behind a lock, and take time: both are nothing for device context.
      : DioOps({.name = "volume file", .pure = of.has_checksums() ? Acts::lock : Acts::none}),
        volume(of),
        inode(opened),
        counted(is_counted) {}
  virtual ~Impl() {
    if (counted == Counted::yes) volume.release_inode(inode);
  }

  // Takes the position, makes way at the tail if need be, and starts the write. `hold`: what it
  // holds in the page cache, if anything; from here on that ends with the write.
  Outcome place_and_start(Kiocb& kiocb, IovView from, void* hold = nullptr) noexcept;
  // The same for a write that has its position. Requires: dio_check() was ok.
  Outcome start_placed(Kiocb& kiocb, IovView from, void* hold) noexcept;
  [[nodiscard]] DioRequest dio_request(bool tell_start = false, void* hold = nullptr,
                                       bool checked = false) noexcept;

  // --- the page cache (buffered.cc) ---
  [[nodiscard]] CachedInode* cached() const noexcept {
    return inode.open->cached.load(std::memory_order_acquire);
  }
  // For buffered requests: made if need be. Null: the volume has no page cache.
  [[nodiscard]] CachedInode* cached_or_new();
  Outcome read_buffered(Kiocb& kiocb, IovView to) noexcept;
  Outcome write_buffered(Kiocb& kiocb, IovView from) noexcept;
  // Whether this request goes through the cache although it is direct: it is not aligned, and the
  // file was opened for that.
  [[nodiscard]] bool carries_through_cache(IoResult checked) const noexcept;
  // Writes back, and waits; with errors that this handle has not been told of yet.
  Result<void> flush_cache(Issuer& issuer, std::uint64_t offset = 0,
                           std::uint64_t end = ~std::uint64_t{0});
  Result<void> tell_write_back_errors();
  // Where the file ends for its users.
  [[nodiscard]] std::uint64_t visible_size() const noexcept;
  // A write publishes no end of the file behind this.
  [[nodiscard]] virtual std::uint64_t file_end_max(const Kiocb& /*kiocb*/) const noexcept {
    return ~std::uint64_t{0};
  }
  // A write has settled or failed.
  virtual void leave_cache(const DioEnd& end) noexcept;
  // The extent or hole that `block` is in, as of now.
  [[nodiscard]] ExtentMap::Lookup find_extent(std::uint64_t block) const noexcept;
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
  // The file's metadata after a write.
  IoResult write_ended(Kiocb& kiocb, const DioEnd& end) noexcept;
  Outcome write_sync(Kiocb& kiocb, const DioEnd& end) noexcept override;
  [[nodiscard]] bool is_extending(std::uint64_t end_offset) const noexcept override {
    return end_offset > inode.size_bytes.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool gap_unprepared() const noexcept override;
  [[nodiscard]] bool must_hold() const noexcept override { return cached() != nullptr; }
  [[nodiscard]] bool has_cached_pages(std::uint64_t offset,
                                      std::uint64_t length) const noexcept override;
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override {
    return inode.size_bytes.load(std::memory_order_acquire);
  }

  VolumeImpl& volume;
  Inode& inode;
  Counted counted;
  bool unaligned_through_cache = false;  // OpenFlags.
  ReadaheadState ahead;
  // Of the file's write-backs that have failed, those that this handle has been told of.
  std::atomic<std::uint64_t> errors_told{0};
};

// What a blocking call that changes the mapping of [offset, end) holds in the page cache meanwhile,
// if the file has one: the range is kept from buffered and direct writes, and nothing of it is in
// flight or dirty.
class CacheDrain {
 public:
  CacheDrain(VolumeFile::Impl& file, Issuer& issuer, std::uint64_t offset, std::uint64_t end);
  CacheDrain(const CacheDrain&) = delete;
  CacheDrain& operator=(const CacheDrain&) = delete;
  ~CacheDrain();

  // Writes back [offset, end), which may be more than is held, and waits until nothing of the held
  // range is in flight.
  Result<void> clean(std::uint64_t offset, std::uint64_t end);
  // Writes back what is held behind `offset`, as far as that is possible, so that nobody else who
  // waits for it starts that while the range is held.
  void start_nothing_behind(std::uint64_t offset) noexcept;
  // The held range has changed below the cache: what it knows of it is forgotten.
  void forget() noexcept;
  // The file ends at `size` now.
  void truncated(std::uint64_t size) noexcept;

 private:
  VolumeFile::Impl& file_;
  Issuer& issuer_;
  CachedInode* cached_;
  std::uint64_t offset_;
  std::uint64_t end_;
  std::optional<DioInflight::Drain> drain_;
};

}  // namespace handback
