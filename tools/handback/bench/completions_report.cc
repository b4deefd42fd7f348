#include "handback/bench/completions_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "common/text.h"
#include "handback/bench/machine.h"

namespace tool {
namespace {

// As the series wrote it: "+36.9"; of large ones no tenths.
std::string percent(double ratio) {
  const double gain = (ratio - 1) * 100;
  return gain < 100 ? fmt::format("{:+.1f}", gain) : fmt::format("{:+.0f}", gain);
}

std::string gain(double ratio) {
  return percent(ratio) + " %";
}

std::string gain(const PairRatios& pairs) {
  return fmt::format("{} ({} to {})", gain(pairs.median), percent(pairs.least),
                     percent(pairs.most));
}

std::string micro(double ns) {
  return fmt::format("{:.1f}", ns / 1e3);
}

const std::vector<std::string> headings{"depth",    "route",  "IOPS",     "p50 us",      "p99 us",
                                        "p99.9 us", "CPU ns", "switches", "over worker", "series"};

// One row of cells for each route at each depth, under `headings`.
std::vector<std::vector<std::string>> rows_of(const CompletionsResult& result) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& at : result.depths) {
    for (std::size_t route = 0; route < completion_routes.size(); ++route) {
      const RouteFigures figures = at.figures(route);
      const auto series = route == issuer_index ? series_ratio(at.depth) : std::nullopt;
      rows.push_back(
          {fmt::format("{}", at.depth), std::string(handback::to_string(completion_routes[route])),
           grouped(static_cast<std::uint64_t>(figures.iops)), micro(figures.p50_ns),
           micro(figures.p99_ns), micro(figures.p999_ns),
           grouped(static_cast<std::uint64_t>(figures.cpu_ns_per_io)),
           fmt::format("{:.2f}", figures.ctx_switches_per_io),
           route == worker_index ? "" : gain(at.over_worker(route)), series ? gain(*series) : ""});
    }
  }
  return rows;
}

std::string conditions(const CompletionsResult& result) {
  const LoadOptions& load = result.options.load;
  return fmt::format(
      "4 KiB random overwrites of {} in {}; {} of {:g} s for each route and depth, "
      "{}; medians, and the least and most of the pairs",
      human_size(load.file_bytes), result.description, count_of(load.repeats, "run", "runs"),
      load.seconds, count_of(result.options.workers, "worker", "workers"));
}

}  // namespace

void print_completions(const CompletionsResult& result) {
  fmt::print("{}\n\n", conditions(result));
  Table table({Align::right, Align::left, Align::right, Align::right, Align::right, Align::right,
               Align::right, Align::right, Align::left, Align::left});
  table.add_row(headings);
  for (auto& row : rows_of(result))
    table.add_row(std::move(row));
  table.print(stdout);
  fmt::print(
      "\nCPU ns and switches: of all threads, for each request. series: what the kernel's "
      "of July 2023 gained.\n");
}

nlohmann::ordered_json completions_json(const CompletionsResult& result) {
  auto rows = nlohmann::ordered_json::array();
  auto ratios = nlohmann::ordered_json::array();
  for (const auto& at : result.depths) {
    for (std::size_t route = 0; route < completion_routes.size(); ++route) {
      const RouteFigures figures = at.figures(route);
      rows.push_back({{"qd", at.depth},
                      {"route", handback::to_string(completion_routes[route])},
                      {"iops", figures.iops},
                      {"p50_ns", figures.p50_ns},
                      {"p99_ns", figures.p99_ns},
                      {"p999_ns", figures.p999_ns},
                      {"cpu_ns_per_io", figures.cpu_ns_per_io},
                      {"ctx_switches_per_io", figures.ctx_switches_per_io}});
    }
    const PairRatios issuer = at.over_worker(issuer_index);
    const auto series = series_ratio(at.depth);
    ratios.push_back({{"qd", at.depth},
                      {"issuer_over_worker", issuer.median},
                      {"pair_min", issuer.least},
                      {"pair_max", issuer.most},
                      {"inline_over_worker", at.over_worker(inline_index).median},
                      {"series", series ? nlohmann::ordered_json(*series) : nullptr}});
  }
  return {{"bench", "completions"},
          {"device", result.options.device},
          {"workers", result.options.workers},
          {"load_average", result.load_average},
          {"rows", std::move(rows)},
          {"ratios", std::move(ratios)}};
}

std::string completions_markdown(const CompletionsResult& result, const std::string& drawing) {
  std::string text = fmt::format("### Completions: {}\n\n{}.\n\n{}\n\n", result.description,
                                 conditions(result), machine_facts(result.load_average));
  const auto add_row = [&text](const std::vector<std::string>& cells) {
    text += fmt::format("| {} |\n", fmt::join(cells, " | "));
  };
  add_row(headings);
  text += "|---:|---|---:|---:|---:|---:|---:|---:|---|---|\n";
  for (const auto& row : rows_of(result))
    add_row(row);
  if (!drawing.empty()) {
    text += fmt::format("\n![IOPS by depth and route, and issuer over worker]({})\n", drawing);
  }
  return text;
}

}  // namespace tool
