// An open host file or block device that this process owns.
#pragma once

#include <sys/types.h>

#include <handback/error.h>
#include <string>

#include "ring/notice.h"
#include "ring/unique_fd.h"

namespace handback {

class HostFile {
 public:
  // Opens and locks `path`: exclusively, or shared if `read_only`. O_DIRECT where the host has it.
  // Errors: as open_host_device().
  [[nodiscard]] static Result<HostFile> open(const std::string& path, bool read_only,
                                             const NoticeSink& notice);

  HostFile(HostFile&&) noexcept = default;
  HostFile& operator=(HostFile&&) = delete;
  ~HostFile();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] bool read_only() const noexcept { return read_only_; }
  [[nodiscard]] bool is_block_device() const noexcept { return is_block_device_; }
  // Transfers go past the page cache.
  [[nodiscard]] bool is_direct() const noexcept { return is_direct_; }
  // Of the block device itself. Requires: is_block_device().
  [[nodiscard]] dev_t block_device() const noexcept { return block_device_; }

 private:
  HostFile() = default;

  UniqueFd fd_;
  std::string path_;
  bool read_only_ = false;
  bool is_block_device_ = false;
  bool is_direct_ = false;
  dev_t block_device_ = 0;
};

}  // namespace handback
