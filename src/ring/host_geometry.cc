#include "ring/host_geometry.h"

#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/align.h"
#include "ring/block_sysfs.h"
#include "ring/host_error.h"

namespace handback {
namespace {

constexpr std::uint32_t sector_bytes = 512;
constexpr std::uint32_t block_bytes_max = 4096;

Result<std::uint64_t> size_of(const HostFile& file) {
  std::uint64_t size_bytes = 0;
  if (file.is_block_device()) {
    if (::ioctl(file.fd(), BLKGETSIZE64, &size_bytes) != 0) {
      return host_error("find the size of", file.path(), errno);
    }
  } else {
    struct stat status {};
    if (::fstat(file.fd(), &status) != 0) return host_error("find the size of", file.path(), errno);
    size_bytes = static_cast<std::uint64_t>(status.st_size);
  }
  return size_bytes;
}

// Whether the host accepts a direct read whose offset, length and address are multiples of `bytes`
// only.
bool accepts_reads_of(const HostFile& file, std::uint32_t bytes, std::uint64_t size_bytes) {
  alignas(block_bytes_max) static thread_local std::byte room[2 * block_bytes_max];
  const bool room_for_two = size_bytes >= 2ULL * bytes;
  ssize_t got = 0;
  do {
    got = ::pread(file.fd(), room + (bytes % block_bytes_max), bytes, room_for_two ? bytes : 0);
  } while (got < 0 && errno == EINTR);
  return got >= 0 || errno != EINVAL;
}

// Errors: not_supported.
Result<DirectAlignment> find_alignment(const HostFile& file, std::uint64_t size_bytes) {
  if (!file.is_direct()) return DirectAlignment{1, sector_bytes};
  auto alignment = ask_direct_alignment(file.fd());
  if (!alignment) {
    std::uint32_t bytes = sector_bytes;
    while (bytes <= block_bytes_max && !accepts_reads_of(file, bytes, size_bytes))
      bytes *= 2;
    alignment = DirectAlignment{bytes, bytes};
  }
  if (int block_bytes = 0;
      file.is_block_device() && ::ioctl(file.fd(), BLKSSZGET, &block_bytes) == 0) {
    alignment->offset_bytes =
        std::max(alignment->offset_bytes, static_cast<std::uint32_t>(block_bytes));
  }
  alignment->memory_bytes = std::bit_ceil(std::max(alignment->memory_bytes, 1U));
  if (alignment->offset_bytes > block_bytes_max || alignment->memory_bytes > block_bytes_max) {
    return fail(
        Errc::not_supported,
        fmt::format("{} needs direct I/O in units of {} bytes, memory aligned to {}; more than {} "
                    "is not supported",
                    file.path(), alignment->offset_bytes, alignment->memory_bytes,
                    block_bytes_max));
  }
  return *alignment;
}

// Whether the kernel makes one write to a file durable without a flush of its own. RWF_DSYNC works
// everywhere; where the disk has no FUA it is a write and then a flush, for each write anew and in
// a thread of the kernel's. One flush for data and record is shorter. (On a block device the kernel
// itself joins the flushes of writes that are under way together.)
bool writes_through(const HostFile& file) {
  struct stat status {};
  if (::fstat(file.fd(), &status) != 0) return true;
  return block_attribute(status.st_dev, "queue/fua") != "0" ||
         block_attribute(status.st_dev, "queue/write_cache") == "write through";
}

}  // namespace

Result<Geometry> find_geometry(const HostFile& file) {
  const auto size_bytes = size_of(file);
  if (!size_bytes) return tl::unexpected(size_bytes.error());
  const auto alignment = find_alignment(file, *size_bytes);
  if (!alignment) return tl::unexpected(alignment.error());

  Geometry geometry;
  geometry.logical_block_bytes =
      alignment->offset_bytes <= sector_bytes ? sector_bytes : block_bytes_max;
  geometry.memory_alignment_bytes = alignment->memory_bytes;
  geometry.size_bytes = round_down(*size_bytes, geometry.logical_block_bytes);
  geometry.read_only = file.read_only();
  // A file's writes may stay in the cache of the disk below, whatever that is. Unknown counts as
  // yes.
  geometry.volatile_cache =
      !file.is_block_device() ||
      block_attribute(file.block_device(), "queue/write_cache") != "write through";
  geometry.fua = file.is_block_device() || writes_through(file);
  if (geometry.size_bytes == 0) {
    return fail(Errc::invalid,
                fmt::format("{} holds {} bytes, less than one block of {}; make it larger",
                            file.path(), *size_bytes, geometry.logical_block_bytes));
  }
  return geometry;
}

}  // namespace handback
