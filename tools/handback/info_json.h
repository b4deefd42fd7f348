// The library's records as JSON. Names and meanings are those of the headers.
#pragma once

#include <handback/volume.h>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace tool {

[[nodiscard]] nlohmann::ordered_json volume_info_json(const handback::VolumeInfo& info);
[[nodiscard]] nlohmann::ordered_json recovery_json(const handback::RecoveryReport& report);
[[nodiscard]] nlohmann::ordered_json file_info_json(const std::string& path,
                                                    const handback::FileInfo& info);
[[nodiscard]] nlohmann::ordered_json extent_json(const handback::ExtentInfo& extent);

[[nodiscard]] std::string_view file_type_name(handback::FileType type) noexcept;

}  // namespace tool
