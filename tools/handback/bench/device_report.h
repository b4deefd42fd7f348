// Our stack against plain io_uring on a device: for people, as JSON, and as a section of a page.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "handback/bench/device_comparison.h"

namespace tool {

void print_device(const DeviceResult& result);
[[nodiscard]] nlohmann::ordered_json device_json(const DeviceResult& result);
[[nodiscard]] std::string device_markdown(const DeviceResult& result);

}  // namespace tool
