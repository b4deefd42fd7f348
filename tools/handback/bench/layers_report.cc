#include "handback/bench/layers_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/text.h"
#include "handback/bench/machine.h"
#include "handback/bench/statistics.h"

namespace tool {
namespace {

constexpr unsigned deep = 128;  // The depth that the budget speaks of, besides 1.

constexpr Layer all_layers[] = {Layer::kiocb, Layer::file,   Layer::mapping, Layer::dio,
                                Layer::bio,   Layer::settle, Layer::deliver, Layer::load};
static_assert(std::size(all_layers) == layer_count);

using Cells = std::vector<std::string>;

struct Sheet {
  std::vector<Align> columns;
  std::vector<Cells> rows;  // The first: headings.
};

std::string ns(double value) {
  return fmt::format("{:.1f}", value);
}
std::string count(double value) {
  return fmt::format("{:.0f}", value);
}

Sheet requests_sheet(const LayersResult& result) {
  Sheet sheet{.columns = {Align::left, Align::right, Align::right, Align::right, Align::right,
                          Align::right, Align::right, Align::right},
              .rows = {{"path", "depth", "ns", "least to most", "cycles", "instructions",
                        "system calls", "allocations"}}};
  for (const auto& row : result.rows) {
    const auto [least, most] = std::minmax_element(row.ns.begin(), row.ns.end());
    sheet.rows.push_back({std::string(to_string(row.path)), fmt::format("{}", row.depth),
                          ns(median(row.ns)), fmt::format("{} to {}", ns(*least), ns(*most)),
                          row.cycles.empty() ? "-" : count(median(row.cycles)),
                          row.counts ? count(row.instructions()) : "-",
                          row.counts ? fmt::format("{:g}", row.system_calls()) : "-",
                          row.counts ? fmt::format("{:g}", row.allocations()) : "-"});
  }
  return sheet;
}

// Instructions of a request through a volume's file, by layer.
Sheet budget_sheet(const LayersResult& result) {
  Sheet sheet{.columns = {Align::left, Align::left, Align::right}, .rows = {}};
  Cells headings{"layer", "what it does", "budget"};
  std::vector<const LayersAtDepth*> columns;
  for (const LayerPath path : {LayerPath::file_write, LayerPath::file_read}) {
    for (const unsigned depth : result.options.depths) {
      columns.push_back(&result.at(path, depth));
      sheet.columns.push_back(Align::right);
      headings.push_back(
          fmt::format("{}, depth {}", path == LayerPath::file_write ? "write" : "read", depth));
    }
  }
  sheet.rows.push_back(std::move(headings));
  for (const Layer layer : all_layers) {
    const LayerInfo& info = info_of(layer);
    if (layer == Layer::load) {
      Cells whole{"all layers", "", fmt::format("{}", instructions_budget)};
      for (const auto* column : columns)
        whole.push_back(count(column->instructions()));
      sheet.rows.push_back(std::move(whole));
    }
    Cells cells{std::string(info.name), std::string(info.what),
                info.budget == 0 ? "" : fmt::format("{}", info.budget)};
    for (const auto* column : columns)
      cells.push_back(count(column->instructions(layer)));
    sheet.rows.push_back(std::move(cells));
  }
  return sheet;
}

struct Part {
  std::string_view name;
  LayerPath path;
  std::optional<LayerPath> less;  // What is taken off: the part without.
};
constexpr Part parts[] = {
    {"bio", LayerPath::queue, std::nullopt},
    {"kiocb, dio, settle, deliver", LayerPath::device_write, LayerPath::queue},
    {"file, mapping", LayerPath::file_write, LayerPath::device_write},
    {"all layers", LayerPath::file_write, std::nullopt},
};

double ns_of(const LayersResult& result, const Part& part, unsigned depth) {
  const double whole = median(result.at(part.path, depth).ns);
  return part.less ? whole - median(result.at(*part.less, depth).ns) : whole;
}

std::string ns_budget(const LayersResult& result) {
  std::string text;
  for (const unsigned depth : result.options.depths) {
    if (depth != 1 && depth != deep) continue;
    text += fmt::format("{}depth {}: {} {:g}", text.empty() ? "" : ", ", depth,
                        depth == 1 ? "at most" : "below",
                        depth == 1 ? alone_ns_budget : deep_ns_budget);
  }
  return text;
}

Sheet parts_sheet(const LayersResult& result) {
  Sheet sheet{.columns = {Align::left}, .rows = {{"layers"}}};
  for (const unsigned depth : result.options.depths) {
    sheet.columns.push_back(Align::right);
    sheet.rows.front().push_back(fmt::format("ns, depth {}", depth));
  }
  sheet.columns.push_back(Align::left);
  sheet.rows.front().emplace_back("budget");
  for (const Part& part : parts) {
    Cells cells{std::string(part.name)};
    for (const unsigned depth : result.options.depths)
      cells.push_back(ns(ns_of(result, part, depth)));
    cells.push_back(part.name == "all layers" ? ns_budget(result) : "");
    sheet.rows.push_back(std::move(cells));
  }
  return sheet;
}

std::string conditions(const LayersResult& result) {
  return fmt::format(
      "One 4 KiB request, on a device that does nothing; a file of {}, whose blocks are all "
      "written; {} of {:g} s for each path and depth, taking turns; medians",
      human_size(result.options.file_bytes), count_of(result.options.repeats, "run", "runs"),
      result.options.seconds);
}

std::string counted_by(const LayersResult& result) {
  return fmt::format("Instructions, system calls and allocations: {}. Cycles: {}.",
                     result.no_counts.empty() ? "counted step by step, the load's own left out"
                                              : "not counted (" + result.no_counts + ")",
                     result.no_cycles.empty() ? "by the processor's counters, in user mode"
                                              : "not counted (" + result.no_cycles + ")");
}

void print(const Sheet& sheet) {
  Table table(sheet.columns);
  for (const auto& row : sheet.rows)
    table.add_row(row);
  table.print(stdout);
}

std::string markdown(const Sheet& sheet) {
  std::string text;
  const auto add_row = [&text](const Cells& cells) {
    text += fmt::format("| {} |\n", fmt::join(cells, " | "));
  };
  add_row(sheet.rows.front());
  text += "|";
  for (const Align align : sheet.columns)
    text += align == Align::right ? "---:|" : "---|";
  text += "\n";
  for (std::size_t i = 1; i < sheet.rows.size(); ++i)
    add_row(sheet.rows[i]);
  return text;
}

template <typename Value>
nlohmann::ordered_json or_null(bool known, const Value& value) {
  return known ? nlohmann::ordered_json(value()) : nlohmann::ordered_json(nullptr);
}

}  // namespace

void print_layers(const LayersResult& result) {
  fmt::print("{}\n\n", conditions(result));
  print(requests_sheet(result));
  if (result.no_counts.empty()) {
    fmt::print("\nInstructions of one request through a volume's file:\n\n");
    print(budget_sheet(result));
  }
  fmt::print("\nTime of one write, by difference:\n\n");
  print(parts_sheet(result));
  fmt::print("\n{}\n", counted_by(result));
}

nlohmann::ordered_json layers_json(const LayersResult& result) {
  auto rows = nlohmann::ordered_json::array();
  auto layers = nlohmann::ordered_json::array();
  for (const auto& row : result.rows) {
    const auto [least, most] = std::minmax_element(row.ns.begin(), row.ns.end());
    const bool counted = row.counts.has_value();
    rows.push_back({{"path", to_string(row.path)},
                    {"qd", row.depth},
                    {"ns", median(row.ns)},
                    {"ns_min", *least},
                    {"ns_max", *most},
                    {"cycles", or_null(!row.cycles.empty(), [&] { return median(row.cycles); })},
                    {"instructions", or_null(counted, [&] { return row.instructions(); })},
                    {"system_calls", or_null(counted, [&] { return row.system_calls(); })},
                    {"allocations", or_null(counted, [&] { return row.allocations(); })}});
    if (!counted) continue;
    for (const Layer layer : all_layers) {
      const LayerInfo& info = info_of(layer);
      auto functions = nlohmann::ordered_json::object();
      for (const auto& [function, instructions] : row.counts->by_function) {
        if (layer_of(function).value_or(Layer::load) != layer) continue;
        functions[function] =
            static_cast<double>(instructions) / static_cast<double>(row.counted_requests);
      }
      layers.push_back({{"path", to_string(row.path)},
                        {"qd", row.depth},
                        {"layer", info.name},
                        {"instructions", row.instructions(layer)},
                        {"budget", or_null(info.budget != 0, [&] { return info.budget; })},
                        {"functions", std::move(functions)}});
    }
  }
  auto times = nlohmann::ordered_json::array();
  for (const unsigned depth : result.options.depths) {
    for (const Part& part : parts)
      times.push_back({{"qd", depth}, {"layers", part.name}, {"ns", ns_of(result, part, depth)}});
  }
  return {{"bench", "layers"},
          {"load_average", result.load_average},
          {"no_cycles", or_null(!result.no_cycles.empty(), [&] { return result.no_cycles; })},
          {"no_counts", or_null(!result.no_counts.empty(), [&] { return result.no_counts; })},
          {"rows", std::move(rows)},
          {"layers", std::move(layers)},
          {"times", std::move(times)},
          {"budget",
           {{"instructions", instructions_budget},
            {"ns_qd1", alone_ns_budget},
            {"ns_qd128", deep_ns_budget},
            {"system_calls", 0},
            {"allocations", 0}}}};
}

std::string layers_markdown(const LayersResult& result) {
  std::string text = fmt::format(
      "### Layers: one request without a device\n\n{}.\n{}\n\n{}\n\n{}", conditions(result),
      counted_by(result), machine_facts(result.load_average), markdown(requests_sheet(result)));
  if (result.no_counts.empty()) {
    text += "\nInstructions of one request through a volume's file:\n\n";
    text += markdown(budget_sheet(result));
  }
  text += "\nTime of one write, by difference:\n\n";
  text += markdown(parts_sheet(result));
  return text;
}

}  // namespace tool
