// Whether a device may be taken for empty.
#pragma once

#include <cstdint>
#include <string>

namespace tool {

// Reads the first and the last MiB: partition tables, file systems and RAID keep their marks there.
// What keeps its data far from both ends would not be known. False if it cannot be read.
[[nodiscard]] bool looks_blank(const std::string& path, std::uint64_t size_bytes);

}  // namespace tool
