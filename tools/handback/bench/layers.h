// What each layer of the stack costs one request, in instructions and nanoseconds.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "handback/bench/layer_loads.h"
#include "handback/bench/load_options.h"
#include "handback/bench/stepping.h"

namespace tool {

enum class Layer : std::uint8_t { kiocb, file, mapping, dio, bio, settle, deliver, load };
inline constexpr std::size_t layer_count = 8;

struct LayerInfo {
  std::string_view name;
  std::string_view what;
  unsigned budget;  // Instructions of one 4 KiB write; 0: is not the stack's.
};
[[nodiscard]] const LayerInfo& info_of(Layer layer) noexcept;

// Of one 4 KiB write through all layers.
inline constexpr unsigned instructions_budget = 600;
inline constexpr double alone_ns_budget = 100;  // At depth 1: at most.
inline constexpr double deep_ns_budget = 74;    // At depth 128: less.

// By the name of a function, demangled. Empty for one that serves several: it counts for the layer
// that called it.
[[nodiscard]] std::optional<Layer> layer_of(std::string_view function);

struct LayersAtDepth {
  LayerPath path;
  unsigned depth;
  std::vector<double> ns;      // Of one request, by repeat.
  std::vector<double> cycles;  // As many, or none.
  // Of so many requests; empty if nothing could be counted.
  std::optional<StepCounts> counts;
  std::uint64_t counted_requests = 0;

  // Of one request. Requires: counts.
  [[nodiscard]] double instructions(Layer layer) const;
  [[nodiscard]] double instructions() const;  // Of all layers, without the load's own.
  [[nodiscard]] double system_calls() const;
  [[nodiscard]] double allocations() const;
};

struct LayersResult {
  LoadOptions options;
  double load_average = 0;
  std::string no_cycles;  // Why there are none; empty if there are.
  std::string no_counts;
  std::vector<LayersAtDepth> rows;  // By depth, then by path.

  [[nodiscard]] const LayersAtDepth& at(LayerPath path, unsigned depth) const;
};

// Throws Failure, also when a signal stopped it.
[[nodiscard]] LayersResult measure_layers(const LoadOptions& options);

}  // namespace tool
