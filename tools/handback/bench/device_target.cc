#include "handback/bench/device_target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <handback/issuer.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/blank_device.h"
#include "common/failure.h"
#include "common/host_fd.h"
#include "common/progress.h"
#include "common/text.h"
#include "handback/bench/host_file_system.h"

namespace tool {
namespace {

// What looks_blank() looks at.
constexpr std::uint64_t edge_bytes = 1U << 20;

// So that what is read was written, and what is written lies where something was.
void write_area(const std::string& path, const HostFd& device, const DeviceArea& area) {
  handback::AlignedBuffer memory(edge_bytes);
  std::memset(memory.data(), 0x5a, memory.size());
  Progress progress("writing " + path);
  for (std::uint64_t done = 0; done < area.bytes;) {
    const std::uint64_t length = std::min<std::uint64_t>(memory.size(), area.bytes - done);
    const std::string error = device.write_all(memory.span().first(length), area.begin + done);
    if (!error.empty()) throw Failure(exit_device, path + ": " + error);
    done += length;
    progress.update(done, area.bytes);
    stop_bench_if_interrupted();
  }
}

}  // namespace

DeviceTarget::DeviceTarget(const std::string& path, std::uint64_t area_bytes) : path_(path) {
  struct stat status {};
  const bool there = stat(path.c_str(), &status) == 0;
  if (there && !S_ISBLK(status.st_mode)) {
    throw Failure(exit_failed, path +
                                   " is there already, and bench would write over it; name a "
                                   "blank block device, or a new file");
  }
  if (there) {
    take_block_device(area_bytes);
    return;
  }
  files_.create(path, area_bytes);
  area_ = {.begin = 0, .bytes = area_bytes};
  kind_ = "host-file";
  description_ = "a host file on " + file_system_of(path);
}

void DeviceTarget::take_block_device(std::uint64_t area_bytes) {
  // One that is mounted, or somebody's otherwise, is refused with O_EXCL.
  const HostFd device(open(path_.c_str(), O_RDWR | O_DIRECT | O_EXCL | O_CLOEXEC));
  if (device.get() < 0) throw failure_of_errno(errno, path_);
  std::uint64_t size_bytes = 0;
  if (ioctl(device.get(), BLKGETSIZE64, &size_bytes) != 0) throw failure_of_errno(errno, path_);
  const std::uint64_t least = area_bytes + 2 * edge_bytes;
  if (size_bytes < least) {
    throw Failure(exit_no_space, fmt::format("{} has {}, and {} are needed; give a smaller --size",
                                             path_, human_size(size_bytes), human_size(least)));
  }
  if (!looks_blank(path_, size_bytes))
    throw Failure(exit_failed, path_ + " is not blank, and bench would write over what it holds");
  area_ = {.begin = edge_bytes, .bytes = area_bytes};
  kind_ = "block-device";
  description_ = "a block device";
  write_area(path_, device, area_);
}

}  // namespace tool
