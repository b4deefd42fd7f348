// The layers' cost against their budget: for people, as JSON, and as a section of a page.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "handback/bench/layers.h"

namespace tool {

void print_layers(const LayersResult& result);
[[nodiscard]] nlohmann::ordered_json layers_json(const LayersResult& result);
[[nodiscard]] std::string layers_markdown(const LayersResult& result);

}  // namespace tool
