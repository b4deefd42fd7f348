// What a path of the host lies on.
#pragma once

#include <string>

namespace tool {

// "ext4", "XFS", "tmpfs", ...
[[nodiscard]] std::string file_system_of(const std::string& path);

}  // namespace tool
