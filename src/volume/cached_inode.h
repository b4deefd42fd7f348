// An open file's place in the volume's page cache, from its first buffered request on: the pages,
// the cache's own way to the device, and what direct I/O on the same file does beside them.
//
// Owner: the inode's OpenInode, which stays while something here is dirty or in flight, even when
// the file's last handle has gone. Whether there is one is asked on the path of every direct write;
// without buffered I/O there is none.
#pragma once

#include "pagecache/address_space.h"
#include "volume/volume_file.h"

namespace handback {

class CachedInode final : private CachedFile {
 public:
  CachedInode(VolumeImpl& volume, Inode& inode, PageCache& cache);
  CachedInode(const CachedInode&) = delete;
  CachedInode& operator=(const CachedInode&) = delete;
  ~CachedInode() = default;

  AddressSpace space;
  // Users of this without a handle of the file. Guarded by the volume's metadata lock.
  unsigned pins = 0;

 private:
  // The file as the cache reads and writes it: direct, and without looking at the cache.
  struct Direct final : VolumeFile::Impl {
    Direct(VolumeImpl& of, Inode& opened) : VolumeFile::Impl(of, opened, Counted::no) {}
    [[nodiscard]] std::uint64_t file_end_max(const Kiocb& kiocb) const noexcept override;
    [[nodiscard]] bool must_hold() const noexcept override { return false; }
    void leave_cache(const DioEnd& /*end*/) noexcept override {}
  };
  // Its name in traces.
  struct Named final : File {
    explicit Named(Direct& to) : direct(to) {}
    Outcome read_iter(Kiocb& kiocb, IovView to) noexcept override;
    Outcome write_iter(Kiocb& kiocb, IovView from) noexcept override;
    [[nodiscard]] std::uint64_t file_id() const noexcept override { return direct.inode.ino; }
    Direct& direct;
  };

  Outcome page_io(PageIo& io, IovView iov) noexcept override;
  [[nodiscard]] std::uint64_t published_size() const noexcept override;
  [[nodiscard]] std::uint64_t size_bytes_max() const noexcept override {
    return file_size_bytes_max;
  }
  Outcome reserve(CacheTask& task, std::uint64_t offset, std::uint64_t length,
                  bool nowait) noexcept override;
  Outcome make_durable(CacheTask& task) noexcept override;
  [[nodiscard]] IoResult check_writable() const noexcept override;
  [[nodiscard]] DioInflight& direct_writes() noexcept override;

  Direct direct_;
  Named named_;
};

// A direct write on a file with a page cache holds its range there, writes back what is dirty in it
// and forgets it, before it starts; when it has settled, it forgets what came in meanwhile, and
// leaves. Returns as File::write_iter does.
Outcome write_beside_cache(VolumeFile::Impl& file, CachedInode& cached, Kiocb& kiocb,
                           IovView from) noexcept;
// Ends what the write holds there, once it has settled or failed. Any context.
void leave_cache_range(void* hold, std::uint64_t offset, std::uint64_t end) noexcept;

// A direct read finds on the device what buffered writes have left in the cache. Returns as
// File::read_iter does.
Outcome read_beside_cache(VolumeFile::Impl& file, CachedInode& cached, Kiocb& kiocb,
                          IovView to) noexcept;

}  // namespace handback
