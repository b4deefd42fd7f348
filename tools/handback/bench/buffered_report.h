// Buffered I/O side by side: how the figures are printed.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "handback/bench/buffered.h"

namespace tool {

void print_buffered(const BufferedResult& result);
[[nodiscard]] nlohmann::ordered_json buffered_json(const BufferedResult& result);
[[nodiscard]] std::string buffered_markdown(const BufferedResult& result);

}  // namespace tool
