// What the host says a file or block device is like.
#pragma once

#include <handback/block_device.h>

#include <cstdint>
#include <optional>

#include "ring/host_file.h"

namespace handback {

// Errors: invalid (less than one logical block), not_supported (alignment beyond 4096 bytes), io.
[[nodiscard]] Result<Geometry> find_geometry(const HostFile& file);

// What direct I/O on a file asks for.
struct DirectAlignment {
  std::uint32_t memory_bytes = 0;
  std::uint32_t offset_bytes = 0;
};

// From statx(); nothing if this kernel or file system does not say.
[[nodiscard]] std::optional<DirectAlignment> ask_direct_alignment(int fd);

}  // namespace handback
