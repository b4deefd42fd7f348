#include "common/blank_device.h"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "common/host_fd.h"

namespace tool {

bool looks_blank(const std::string& path, std::uint64_t size_bytes) {
  const HostFd device(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const std::uint64_t length = std::min<std::uint64_t>(size_bytes, 1 << 20);
  std::vector<std::byte> bytes(length);
  for (const std::uint64_t offset : {std::uint64_t{0}, size_bytes - length}) {
    if (!device.read_all(bytes, offset).empty()) return false;
    if (std::any_of(bytes.begin(), bytes.end(),
                    [](std::byte byte) { return byte != std::byte{0}; })) {
      return false;
    }
  }
  return true;
}

}  // namespace tool
