#include <fcntl.h>
#include <fmt/format.h>
#include <handback/host_device.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/align.h"
#include "base/planted_bug.h"
#include "ring/host_error.h"
#include "ring/unique_fd.h"

namespace handback {
namespace {

// Large enough that a disk streams although one write is in flight at a time.
constexpr std::uint64_t chunk_bytes = 8U << 20;
constexpr std::uint64_t direct_alignment_bytes = 4096;

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Zeros for direct writes. Never touched, so they cost one page of memory at most.
class ZeroChunk {
 public:
  ZeroChunk() noexcept
      : data_(::mmap(nullptr, chunk_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ZeroChunk(const ZeroChunk&) = delete;
  ZeroChunk& operator=(const ZeroChunk&) = delete;
  ~ZeroChunk() {
    if (valid()) ::munmap(data_, chunk_bytes);
  }
  [[nodiscard]] bool valid() const noexcept { return data_ != MAP_FAILED; }
  [[nodiscard]] const void* data() const noexcept { return data_; }

 private:
  void* data_;
};

// A file that is being made, and is gone again unless it was kept.
class FileInTheMaking {
 public:
  explicit FileInTheMaking(const std::string& path) : path_(path) {}
  FileInTheMaking(const FileInTheMaking&) = delete;
  FileInTheMaking& operator=(const FileInTheMaking&) = delete;
  ~FileInTheMaking() {
    if (fd_.valid() && !kept_ && is_still_at_path() && !planted(PlantedBug::create_leaves_pieces))
      ::unlink(path_.c_str());
  }

  Result<void> create() {
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return host_error("create", path_, errno);
    fd_ = UniqueFd(fd);
    // Not at opening: a file system without direct I/O would refuse, and leave the file behind.
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_DIRECT);
    ::flock(fd,
            LOCK_EX | LOCK_NB);  // Nobody takes it for finished. Where locks fail, opening says so.
    return {};
  }

  // So that running out of space comes before the long part.
  Result<void> reserve(std::uint64_t size_bytes) {
    int error = 0;
    do {
      error = ::fallocate(fd_.get(), 0, 0, static_cast<off_t>(size_bytes)) == 0 ? 0 : errno;
    } while (error == EINTR);
    // Writing allocates as well where the file system cannot reserve.
    if (error != 0 && error != EOPNOTSUPP && error != ENOSYS)
      return host_error("reserve", path_, error);
    return {};
  }

  Result<void> write_zeros(std::uint64_t size_bytes, const ByteProgress& progress) {
    const ZeroChunk zeros;
    if (!zeros.valid()) return host_error("find memory for writing", path_, errno);
    std::uint64_t done_bytes = 0;
    while (done_bytes < size_bytes) {
      std::uint64_t length_bytes = std::min(chunk_bytes, size_bytes - done_bytes);
      if (length_bytes >= direct_alignment_bytes &&
          is_aligned(done_bytes, direct_alignment_bytes)) {
        length_bytes = round_down(length_bytes, direct_alignment_bytes);
      } else {
        leave_direct_io();
      }
      const ssize_t written =
          ::pwrite(fd_.get(), zeros.data(), length_bytes, static_cast<off_t>(done_bytes));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0 && errno == EINVAL && leave_direct_io()) continue;
      if (written <= 0) return host_error("write", path_, written < 0 ? errno : EIO);
      done_bytes += static_cast<std::uint64_t>(written);
      if (progress && !progress(done_bytes, size_bytes)) {
        return fail(Errc::canceled,
                    fmt::format("creating {} was stopped; nothing is left of it", path_));
      }
    }
    return {};
  }

  // The file, and that it is in its folder.
  Result<void> make_durable() {
    if (::fsync(fd_.get()) != 0) return host_error("flush", path_, errno);
    const std::string folder = folder_of(path_);
    const UniqueFd folder_fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder_fd.valid() || ::fsync(folder_fd.get()) != 0)
      return host_error("flush", folder, errno);
    return {};
  }

  void keep() noexcept { kept_ = true; }

 private:
  // Returns whether the file was in direct mode before.
  bool leave_direct_io() noexcept {
    const int flags = ::fcntl(fd_.get(), F_GETFL);
    if ((flags & O_DIRECT) == 0) return false;
    return ::fcntl(fd_.get(), F_SETFL, flags & ~O_DIRECT) == 0;
  }

  [[nodiscard]] bool is_still_at_path() const noexcept {
    struct stat ours {};
    struct stat there {};
    return ::fstat(fd_.get(), &ours) == 0 && ::lstat(path_.c_str(), &there) == 0 &&
           ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
  }

  const std::string& path_;
  UniqueFd fd_;
  bool kept_ = false;
};

// Before anything changes: sizes that cannot work.
Result<void> check_size(const std::string& path, std::uint64_t size_bytes) {
  if (size_bytes == 0) return fail(Errc::invalid, fmt::format("{} needs a size above 0", path));
  struct statvfs space {};
  if (::statvfs(folder_of(path).c_str(), &space) != 0) return {};  // Creating will say why.
  const std::uint64_t unit_bytes = std::max<std::uint64_t>(space.f_frsize, 1);
  const bool too_many =
      size_bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()) ||
      size_bytes / unit_bytes > space.f_bfree;
  if (too_many) {
    return fail(Errc::no_space,
                fmt::format("{} needs {} bytes, its file system has {} free; free some "
                            "space or ask for less",
                            path, size_bytes, space.f_bfree * unit_bytes));
  }
  return {};
}

}  // namespace

Result<void> create_host_file(const std::string& path, std::uint64_t size_bytes,
                              const ByteProgress& progress) {
  struct stat there {};
  if (::lstat(path.c_str(), &there) == 0) return host_error("create", path, EEXIST);
  if (auto possible = check_size(path, size_bytes); !possible) return possible;
  FileInTheMaking file(path);
  if (auto step = file.create(); !step) return step;
  if (auto step = file.reserve(size_bytes); !step) return step;
  if (auto step = file.write_zeros(size_bytes, progress); !step) return step;
  if (auto step = file.make_durable(); !step) return step;
  file.keep();
  return {};
}

}  // namespace handback
