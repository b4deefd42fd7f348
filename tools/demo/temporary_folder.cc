#include "demo/temporary_folder.h"

#include <sys/statvfs.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "common/failure.h"

namespace tool {

TemporaryFolder::TemporaryFolder(const std::string& parent, bool keep)
    : path_(parent + "/handback-demo-XXXXXX"), keep_(keep) {
  if (mkdtemp(path_.data()) == nullptr) throw failure_of_errno(errno, parent);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!keep_) std::filesystem::remove_all(path_, ignored);
}

std::uint64_t free_disk_bytes(const std::string& path) {
  struct statvfs space {};
  if (statvfs(path.c_str(), &space) != 0) throw failure_of_errno(errno, path);
  return std::uint64_t{space.f_bavail} * space.f_frsize;
}

}  // namespace tool
