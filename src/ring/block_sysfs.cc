#include "ring/block_sysfs.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace handback {
namespace {

std::string sysfs_folder(dev_t device) {
  return fmt::format("/sys/dev/block/{}:{}/", major(device), minor(device));
}

}  // namespace

std::string block_attribute(dev_t device, const std::string& attribute) {
  // A partition's folder lies in that of its disk.
  for (const char* const parent : {"", "../"}) {
    std::ifstream in(sysfs_folder(device) + parent + attribute);
    std::string line;
    if (std::getline(in, line)) return line;
  }
  return {};
}

std::string block_device_user(dev_t device) {
  // Each line: id, parent id, MAJOR:MINOR, root, mount point, and more.
  std::ifstream mounts("/proc/self/mountinfo");
  const std::string id = fmt::format("{}:{}", major(device), minor(device));
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string ignored, device_id, root, mount_point;
    words >> ignored >> ignored >> device_id >> root >> mount_point;
    if (device_id == id) return "mounted at " + mount_point;
  }
  std::error_code none;
  for (const auto& holder :
       std::filesystem::directory_iterator(sysfs_folder(device) + "holders", none)) {
    return "part of " + holder.path().filename().string();
  }
  return {};
}

}  // namespace handback
