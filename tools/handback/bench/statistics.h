// Figures of repeated runs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace tool {

// Requires: at least one value.
[[nodiscard]] inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle - 1] + values[middle]) / 2;
}

// How one kind of run compares with another: each repeat's pair for itself, since the machine may
// change from one repeat to the next.
struct PairRatios {
  double median = 0;
  double least = 0;
  double most = 0;
};

// Requires: as many values, in the order of the repeats; at least one; none below zero or zero.
[[nodiscard]] inline PairRatios pair_ratios(const std::vector<double>& values,
                                            const std::vector<double>& base) {
  std::vector<double> ratios;
  ratios.reserve(values.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    ratios.push_back(values[i] / base[i]);
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  return {.median = median(ratios), .least = *least, .most = *most};
}

}  // namespace tool
