#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "common/copy_tree.h"
#include "common/failure.h"
#include "common/host_fd.h"
#include "common/interrupt.h"
#include "common/paths.h"
#include "common/progress.h"
#include "common/read_files.h"
#include "common/text.h"

namespace tool {
namespace {

timespec to_timespec(std::int64_t since_1970_ns) {
  std::int64_t seconds = since_1970_ns / 1'000'000'000;
  std::int64_t rest_ns = since_1970_ns % 1'000'000'000;
  if (rest_ns < 0) {
    --seconds;
    rest_ns += 1'000'000'000;
  }
  timespec time{};
  time.tv_sec = seconds;
  time.tv_nsec = rest_ns;
  return time;
}

bool is_present(const VolumeFileItem& item, const struct stat& status) {
  const timespec time = to_timespec(item.info.mtime_ns);
  return S_ISREG(status.st_mode) &&
         static_cast<std::uint64_t>(status.st_size) == item.info.size_bytes &&
         status.st_mtim.tv_sec == time.tv_sec && status.st_mtim.tv_nsec == time.tv_nsec;
}

// Writes files of the host as they come out of the volume.
class HostSink : public FileSink {
 public:
  HostSink(const VolumeTree& tree, const CopyWatcher& watcher) : tree_(tree), watcher_(watcher) {
    progress_.total_bytes = tree.bytes;
  }

  bool wants(std::size_t index) override {
    const VolumeFileItem& item = tree_.files[index];
    struct stat status {};
    if (stat(item.host_path.c_str(), &status) != 0) return true;
    if (S_ISDIR(status.st_mode)) {
      report.failed.push_back(
          {item.volume_path, item.host_path + " is a directory; move it away first"});
      return false;
    }
    if (is_present(item, status)) {
      ++report.files_present;
      report.bytes_present += item.info.size_bytes;
      progress_.total_bytes -= item.info.size_bytes;
      return false;
    }
    return true;
  }

  [[nodiscard]] bool skips_holes() const override { return true; }

  void begin(std::size_t index) override {
    const VolumeFileItem& item = tree_.files[index];
    failed_ = false;
    host_ = HostFd(open(item.host_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (host_.get() < 0) fail(item, std::strerror(errno));
  }

  void data(std::size_t index, std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (!failed_) {
      const std::string error = host_.write_all(bytes, offset);
      if (!error.empty()) {
        fail(tree_.files[index], error);
      } else {
        report.bytes += bytes.size();
      }
    }
    progress_.done_bytes += bytes.size();
    if (watcher_) watcher_(progress_);
  }

  void end(std::size_t index) override {
    if (failed_) return;
    const VolumeFileItem& item = tree_.files[index];
    const std::array<timespec, 2> times{timespec{0, UTIME_NOW}, to_timespec(item.info.mtime_ns)};
    const bool whole = ftruncate(host_.get(), static_cast<off_t>(item.info.size_bytes)) == 0;
    if (!whole || futimens(host_.get(), times.data()) != 0) {
      fail(item, std::strerror(errno));
      return;
    }
    host_ = HostFd();
    ++report.files;
  }

  CopyReport report;

 private:
  void fail(const VolumeFileItem& item, const std::string& reason) {
    report.failed.push_back({item.volume_path, fmt::format("{}: {}", item.host_path, reason)});
    failed_ = true;
    host_ = HostFd();
  }

  const VolumeTree& tree_;
  const CopyWatcher& watcher_;
  CopyProgress progress_;
  HostFd host_;
  bool failed_ = false;
};

// Before anything is written. What is to be replaced counts as free.
void require_host_space(const VolumeTree& tree) {
  if (tree.files.empty()) return;
  std::uint64_t needed_bytes = 0;
  std::uint64_t free_bytes = 0;
  for (const auto& item : tree.files) {
    struct stat status {};
    const bool exists = stat(item.host_path.c_str(), &status) == 0;
    if (exists && is_present(item, status)) continue;
    needed_bytes += item.info.allocated_bytes;
    if (exists) free_bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  std::filesystem::path there = tree.files.front().host_path;
  struct statvfs space {};
  do {
    there = there.parent_path();
    if (there.empty()) there = ".";
  } while (statvfs(there.c_str(), &space) != 0 && there != there.parent_path() && there != ".");
  free_bytes += std::uint64_t{space.f_bavail} * space.f_frsize;
  if (needed_bytes <= free_bytes) return;
  throw Failure(
      exit_no_space,
      fmt::format("{}: no space: {} are to be copied and its file system has {} free; free "
                  "some, or copy to another one",
                  there.string(), human_size(needed_bytes), human_size(free_bytes)));
}

bool names_a_directory(const std::string& destination) {
  const std::string name = base_name(destination);
  return name.empty() || name == "." || name == "..";
}

}  // namespace

VolumeTree read_volume_tree(const handback::Volume& volume, const std::vector<std::string>& paths,
                            const std::string& destination) {
  VolumeTree tree;
  std::error_code ignored;
  const bool into_always = paths.size() > 1 || names_a_directory(destination);
  const bool is_directory = std::filesystem::is_directory(destination, ignored);
  for (const auto& path : paths) {
    const std::string from = normal_path(path);
    const std::vector<VolumeEntry> entries = list_tree(volume, from);
    const bool is_file = entries.front().info.type == handback::FileType::regular;
    // The root has no name: its content goes into the destination.
    const bool into = from != "/" && (into_always || (is_file && is_directory));
    const std::string target = into ? join_path(destination, base_name(from)) : destination;
    for (const auto& entry : entries) {
      const std::string below = entry.path.substr(from == "/" ? 0 : from.size());
      const std::string host_path = below.empty() || below == "/" ? target : target + below;
      if (entry.info.type == handback::FileType::directory) {
        tree.directories.push_back(host_path);
      } else {
        tree.files.push_back({entry.path, host_path, entry.info});
        tree.bytes += entry.info.size_bytes;
      }
    }
  }
  return tree;
}

CopyReport get_tree(handback::Volume& volume, handback::Issuer& issuer, const VolumeTree& tree,
                    const CopyWatcher& watcher) {
  const std::uint64_t started_ns = monotonic_ns();
  require_host_space(tree);
  HostSink sink(tree, watcher);
  const auto make_directories = [&sink](const std::filesystem::path& path) {
    std::error_code error;
    if (path.empty()) return;
    if (std::filesystem::create_directories(path, error)) ++sink.report.directories;
    if (error) throw failure_of_errno(error.value(), path.string());
  };
  for (const auto& directory : tree.directories)
    make_directories(directory);
  std::vector<std::string> paths;
  for (const auto& item : tree.files) {
    make_directories(std::filesystem::path(item.host_path).parent_path());
    paths.push_back(item.volume_path);
  }
  read_files(volume, issuer, paths, sink);
  sink.report.signal = interrupted_by();
  sink.report.elapsed_ns = monotonic_ns() - started_ns;
  return std::move(sink.report);
}

}  // namespace tool
