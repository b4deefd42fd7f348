// A tree on the host, as it will lie in a volume.
#pragma once

#include <handback/volume.h>
#include <cstdint>
#include <string>
#include <vector>

#include "common/copy_report.h"

namespace tool {

struct HostFile {
  std::string host_path;
  std::string volume_path;
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
};

struct HostTree {
  std::vector<std::string> directories;  // In the volume, each after its parent.
  std::vector<HostFile> files;  // In a fixed order: by name, each directory before its content.
  std::vector<PathNote> skipped;
  std::vector<PathNote> failed;  // Directories that could not be read.
  std::uint64_t bytes = 0;
};

// Where a source goes: `destination` is the copy's own path, unless it ends in '/', or there are
// several sources, or a file would take the place of a directory of the volume: then the copy goes
// into it under its own name. So the same command again means the same thing, and completes what it
// began. `left_out` is a host path that is never copied: the volume's own file. Throws Failure if a
// source does not exist.
[[nodiscard]] HostTree read_host_tree(const std::vector<std::string>& sources,
                                      const std::string& destination,
                                      const handback::Volume& volume, const std::string& left_out);

// One source as the copy `target`.
void add_host_tree(const std::string& source, const std::string& target,
                   const std::string& left_out, HostTree* tree);

}  // namespace tool
