#include "ring/host_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

#include "ring/block_sysfs.h"
#include "ring/file_lock.h"
#include "ring/host_error.h"

namespace handback {
namespace {

LockedFile locked_file(const struct stat& status) {
  return LockedFile{major(status.st_dev), minor(status.st_dev), status.st_ino};
}

Result<void> check_kind(const struct stat& status, const std::string& path) {
  if (S_ISDIR(status.st_mode)) {
    return fail(Errc::is_a_directory,
                fmt::format("{} is a directory; name a file or a block device", path));
  }
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return fail(Errc::invalid,
                fmt::format("{} is neither a regular file nor a block device", path));
  }
  if (S_ISREG(status.st_mode) && status.st_size == 0) {
    return fail(Errc::invalid, fmt::format("{} is empty; it must have its full size before", path));
  }
  return {};
}

// Kernels differ in whether a read-only block device refuses writers when they open it (with
// EACCES, whoever they are) or when they write.
Result<void> check_writable(const struct stat& status, const std::string& path) {
  if (!S_ISBLK(status.st_mode) || block_attribute(status.st_rdev, "ro") != "1") return {};
  return fail(Errc::read_only, fmt::format("{} is a read-only device; open it read-only", path));
}

tl::unexpected<Error> device_busy(const std::string& path, const std::string& user) {
  return fail(Errc::busy, fmt::format("{} is {}; end that first", path, user));
}

// Opens with `flags`, or without O_DIRECT where the file system refuses it.
Result<UniqueFd> open_fd(const std::string& path, int flags, const struct stat& status) {
  DeadHolderWait wait;
  for (;;) {
    const int fd = ::open(path.c_str(), flags);
    if (fd >= 0) return UniqueFd(fd);
    if (errno == EINTR) continue;
    if (errno == EINVAL && (flags & O_DIRECT) != 0) {
      flags &= ~O_DIRECT;
      continue;
    }
    if (errno != EBUSY || !S_ISBLK(status.st_mode)) return host_error("open", path, errno);
    if (const auto user = block_device_user(status.st_rdev); !user.empty()) {
      return device_busy(path, user);
    }
    if (const auto holder = living_lock_holder(locked_file(status)); !holder.empty()) {
      return device_busy(path, "held by " + holder);
    }
    if (!wait.again()) {
      return device_busy(path, "in use (mounted in another namespace, or part of a larger device)");
    }
  }
}

}  // namespace

Result<HostFile> HostFile::open(const std::string& path, bool read_only, const NoticeSink& notice) {
  // Before opening, because opening a tape or a pipe does something.
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return host_error("open", path, errno);
  if (auto kind = check_kind(status, path); !kind) return tl::unexpected(kind.error());

  if (!read_only) {
    if (auto writable = check_writable(status, path); !writable)
      return tl::unexpected(writable.error());
  }

  int flags = O_CLOEXEC | O_DIRECT | (read_only ? O_RDONLY : O_RDWR);
  // Keeps file systems and other device users away. Readers may share, so they do not claim.
  if (S_ISBLK(status.st_mode) && !read_only) flags |= O_EXCL;
  auto fd = open_fd(path, flags, status);
  if (!fd) return tl::unexpected(fd.error());

  HostFile file;
  file.fd_ = std::move(*fd);
  if (::fstat(file.fd(), &status) != 0) return host_error("look at", path, errno);
  if (auto kind = check_kind(status, path); !kind) return tl::unexpected(kind.error());
  file.path_ = path;
  file.read_only_ = read_only;
  file.is_block_device_ = S_ISBLK(status.st_mode);
  file.block_device_ = status.st_rdev;
  const LockMode mode = read_only ? LockMode::shared : LockMode::exclusive;
  if (auto locked = lock_file(file.fd(), mode, locked_file(status), path); !locked) {
    return tl::unexpected(locked.error());
  }
  file.is_direct_ = (::fcntl(file.fd(), F_GETFL) & O_DIRECT) != 0;
  if (!file.is_direct_) {
    notice_once(NoticeKind::no_direct_io, notice,
                fmt::format("the file system of {} has no direct I/O, using its page cache", path));
  }
  return file;
}

HostFile::~HostFile() {
  if (fd_.valid()) unlock_file(fd_.get());
}

}  // namespace handback
