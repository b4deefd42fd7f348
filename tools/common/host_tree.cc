#include "common/host_tree.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "common/failure.h"
#include "common/paths.h"

namespace tool {
namespace {

std::int64_t mtime_ns_of(const struct stat& status) {
  return std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

std::string_view kind_of(mode_t mode) {
  if (S_ISFIFO(mode)) return "named pipe";
  if (S_ISSOCK(mode)) return "socket";
  if (S_ISCHR(mode)) return "character device";
  if (S_ISBLK(mode)) return "block device";
  return "special file";
}

// The walk of one source. Recursion is as deep as the host's tree.
class Walk {
 public:
  Walk(const std::string& left_out, HostTree* tree) : tree_(*tree) {
    struct stat status {};
    if (!left_out.empty() && stat(left_out.c_str(), &status) == 0) {
      left_out_dev_ = status.st_dev;
      left_out_ino_ = status.st_ino;
    }
  }

  // `named`: the user named it, so it is followed wherever it leads.
  void add(const std::string& host_path, const std::string& volume_path, bool named) {
    struct stat status {};
    if (lstat(host_path.c_str(), &status) != 0) {
      const int error = errno;
      if (named) throw failure_of_errno(error, host_path);
      // Gone since its directory was read: as if it had never been there.
      if (error != ENOENT) tree_.failed.push_back({host_path, std::strerror(error)});
      return;
    }
    if (S_ISLNK(status.st_mode)) {
      if (stat(host_path.c_str(), &status) != 0) {
        if (named) throw failure_of_errno(errno, host_path);
        tree_.skipped.push_back({host_path, "symbolic link to nothing"});
        return;
      }
      if (!named && !S_ISREG(status.st_mode)) {
        tree_.skipped.push_back(
            {host_path,
             fmt::format("symbolic link to a {}",
                         S_ISDIR(status.st_mode) ? "directory" : kind_of(status.st_mode))});
        return;
      }
    }
    if (S_ISDIR(status.st_mode)) {
      tree_.directories.push_back(volume_path);
      add_content(host_path, volume_path);
    } else if (!S_ISREG(status.st_mode)) {
      tree_.skipped.push_back({host_path, std::string(kind_of(status.st_mode))});
    } else if (status.st_dev == left_out_dev_ && status.st_ino == left_out_ino_) {
      tree_.skipped.push_back({host_path, "the volume itself"});
    } else {
      const auto size_bytes = static_cast<std::uint64_t>(status.st_size);
      tree_.files.push_back({host_path, volume_path, size_bytes, mtime_ns_of(status)});
      tree_.bytes += size_bytes;
    }
  }

 private:
  void add_content(const std::string& host_path, const std::string& volume_path) {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(host_path.c_str()), closedir);
    if (directory == nullptr) {
      tree_.failed.push_back({host_path, std::strerror(errno)});
      return;
    }
    std::vector<std::string> names;
    while (const dirent* entry = readdir(directory.get())) {  // NOLINT: its own stream, one thread.
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    for (const auto& name : names) {
      add(join_path(host_path, name), join_path(volume_path, name), false);
    }
  }

  HostTree& tree_;
  dev_t left_out_dev_ = 0;
  ino_t left_out_ino_ = 0;
};

// The name a source has: of "/etc/" it is "etc", of "." the name of the working directory.
std::string source_name(const std::string& source) {
  std::error_code error;
  const std::filesystem::path path(source);
  std::string name = path.filename().string();
  if (name.empty()) name = path.parent_path().filename().string();
  if (name.empty() || name == "." || name == "..") {
    name = std::filesystem::canonical(path, error).filename().string();
  }
  if (name.empty() || name == "/") {
    throw Failure(exit_usage,
                  source + ": has no name of its own; name the copy, without '/' at its end");
  }
  return name;
}

}  // namespace

void add_host_tree(const std::string& source, const std::string& target,
                   const std::string& left_out, HostTree* tree) {
  Walk(left_out, tree).add(source, target, true);
}

HostTree read_host_tree(const std::vector<std::string>& sources, const std::string& destination,
                        const handback::Volume& volume, const std::string& left_out) {
  HostTree tree;
  const bool into_always =
      sources.size() > 1 || (!destination.empty() && destination.back() == '/');
  const std::string target = normal_path(destination);
  const auto existing = volume.stat(target);
  const bool target_is_directory = existing && existing->type == handback::FileType::directory;
  for (const auto& source : sources) {
    struct stat status {};
    if (stat(source.c_str(), &status) != 0) throw failure_of_errno(errno, source);
    const bool into = into_always || (!S_ISDIR(status.st_mode) && target_is_directory);
    const std::string copy = into ? join_path(target, source_name(source)) : target;
    add_host_tree(source, copy, left_out, &tree);
  }
  return tree;
}

}  // namespace tool
