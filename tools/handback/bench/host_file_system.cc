#include "handback/bench/host_file_system.h"

#include <fmt/format.h>
#include <sys/vfs.h>

namespace tool {

std::string file_system_of(const std::string& path) {
  struct statfs status {};
  if (statfs(path.c_str(), &status) != 0) return "an unknown file system";
  switch (static_cast<unsigned long>(status.f_type)) {
    case 0xef53:
      return "ext4";
    case 0x58465342:
      return "XFS";
    case 0x9123683e:
      return "btrfs";
    case 0x01021994:
      return "tmpfs";
    case 0x794c7630:
      return "overlayfs";
    default:
      return fmt::format("a file system of type {:#x}", status.f_type);
  }
}

}  // namespace tool
