// A new folder that is gone, with all that is in it, when the object is.
#pragma once

#include <cstdint>
#include <string>

namespace tool {

class TemporaryFolder {
 public:
  // Made in `parent`. Throws Failure.
  TemporaryFolder(const std::string& parent, bool keep);
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool keep_;
};

// What an unprivileged user may still use of the file system at `path`. Throws Failure.
[[nodiscard]] std::uint64_t free_disk_bytes(const std::string& path);

}  // namespace tool
