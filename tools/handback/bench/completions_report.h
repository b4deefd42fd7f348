// The results of `bench completions` as text, JSON, a section of a page, and a drawing.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "handback/bench/completions.h"

namespace tool {

void print_completions(const CompletionsResult& result);
[[nodiscard]] nlohmann::ordered_json completions_json(const CompletionsResult& result);

// `drawing`: where the page finds it; empty if there is none.
[[nodiscard]] std::string completions_markdown(const CompletionsResult& result,
                                               const std::string& drawing);

// For gnuplot: IOPS by depth and route, and issuer over worker beside the series' own table.
[[nodiscard]] std::string completions_plot(const CompletionsResult& result);

}  // namespace tool
