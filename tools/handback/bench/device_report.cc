#include "handback/bench/device_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/text.h"
#include "handback/bench/machine.h"

namespace tool {
namespace {

template <typename Get>
double median_of(const DeviceRuns& runs, Get get) {
  std::vector<double> values;
  for (const RunResult& run : runs.runs)
    values.push_back(static_cast<double>(get(run)));
  return median(std::move(values));
}

struct SideFigures {
  double p50_ns;
  double p99_ns;
  double p999_ns;
  double cpu_ns_per_io;
};

SideFigures figures_of(const DeviceRuns& runs) {
  return {
      .p50_ns = median_of(runs, [](const RunResult& run) { return run.p50_ns; }),
      .p99_ns = median_of(runs, [](const RunResult& run) { return run.p99_ns; }),
      .p999_ns = median_of(runs, [](const RunResult& run) { return run.p999_ns; }),
      .cpu_ns_per_io = median_of(runs, [](const RunResult& run) { return run.cpu_ns_per_io(); })};
}

std::string microseconds(double ns) {
  return fmt::format("{:.1f}", ns / 1e3);
}

std::string ratio_text(const PairRatios& pairs) {
  return fmt::format("{:.3f} ({:.3f} to {:.3f})", pairs.median, pairs.least, pairs.most);
}

std::string_view way_of(const DeviceRuns& runs) {
  return runs.busy ? "looks, then sleeps" : "sleeps";
}

const std::vector<std::string> headings{
    "load",     "depth",  "target",       "IOPS", "least to most",   "p50 us",        "p99 us",
    "p99.9 us", "CPU ns", "system calls", "way",  "IOPS over plain", "p99 over plain"};

std::vector<std::vector<std::string>> cells_of(const DeviceResult& result) {
  std::vector<std::vector<std::string>> rows;
  for (const DeviceRow& row : result.rows) {
    for (const DeviceSide side : device_sides) {
      const DeviceRuns& runs = row.of(side);
      const SideFigures figures = figures_of(runs);
      const auto iops = runs.iops();
      const auto [least, most] = std::minmax_element(iops.begin(), iops.end());
      const bool ours = side == DeviceSide::handback;
      rows.push_back(
          {std::string(to_string(row.access)), fmt::format("{}", row.depth),
           std::string(to_string(side)), grouped(static_cast<std::uint64_t>(median(iops))),
           fmt::format("{} to {}", grouped(static_cast<std::uint64_t>(*least)),
                       grouped(static_cast<std::uint64_t>(*most))),
           microseconds(figures.p50_ns), microseconds(figures.p99_ns),
           microseconds(figures.p999_ns),
           grouped(static_cast<std::uint64_t>(figures.cpu_ns_per_io)),
           runs.system_calls_per_request ? fmt::format("{:.2f}", *runs.system_calls_per_request)
                                         : "-",
           std::string(way_of(runs)), ours ? ratio_text(row.iops_ratios()) : "",
           ours ? ratio_text(row.p99_ratios()) : ""});
    }
  }
  return rows;
}

std::string conditions(const DeviceResult& result) {
  return fmt::format(
      "{} of {}; {} of {:g} s for each target, load and depth, taking turns; medians, and the "
      "least and most of the runs and pairs. System calls for each request: {}",
      human_size(result.options.file_bytes), result.description,
      count_of(result.options.repeats, "run", "runs"), result.options.seconds,
      result.no_system_calls.empty() ? "by the kernel's count, in a run of its own"
                                     : "not counted (" + result.no_system_calls + ")");
}

}  // namespace

void print_device(const DeviceResult& result) {
  fmt::print("{}\n\n", conditions(result));
  Table table({Align::left, Align::right, Align::left, Align::right, Align::right, Align::right,
               Align::right, Align::right, Align::right, Align::right, Align::left, Align::left,
               Align::left});
  table.add_row(headings);
  for (auto& row : cells_of(result))
    table.add_row(std::move(row));
  table.print(stdout);
  fmt::print("\nHeld to: IOPS at least {:g} of plain's, p99 at most {:g} of it.\n", device_iops_bar,
             device_p99_bar);
}

nlohmann::ordered_json device_json(const DeviceResult& result) {
  auto rows = nlohmann::ordered_json::array();
  auto ratios = nlohmann::ordered_json::array();
  for (const DeviceRow& row : result.rows) {
    for (const DeviceSide side : device_sides) {
      const DeviceRuns& runs = row.of(side);
      const SideFigures figures = figures_of(runs);
      const auto iops = runs.iops();
      const auto [least, most] = std::minmax_element(iops.begin(), iops.end());
      rows.push_back(
          {{"target", to_string(side)},
           {"load", to_string(row.access)},
           {"qd", row.depth},
           {"iops", median(iops)},
           {"iops_min", *least},
           {"iops_max", *most},
           {"p50_ns", figures.p50_ns},
           {"p99_ns", figures.p99_ns},
           {"p999_ns", figures.p999_ns},
           {"cpu_ns_per_io", figures.cpu_ns_per_io},
           {"system_calls_per_io", runs.system_calls_per_request
                                       ? nlohmann::ordered_json(*runs.system_calls_per_request)
                                       : nlohmann::ordered_json(nullptr)},
           {"way", way_of(runs)}});
    }
    const PairRatios iops = row.iops_ratios();
    const PairRatios p99 = row.p99_ratios();
    ratios.push_back({{"load", to_string(row.access)},
                      {"qd", row.depth},
                      {"handback_over_plain", iops.median},
                      {"pair_min", iops.least},
                      {"pair_max", iops.most},
                      {"p99_over_plain", p99.median},
                      {"p99_pair_min", p99.least},
                      {"p99_pair_max", p99.most}});
  }
  return {{"bench", "device"},
          {"kind", result.kind},
          {"load_average", result.load_average},
          {"rows", std::move(rows)},
          {"ratios", std::move(ratios)}};
}

std::string device_markdown(const DeviceResult& result) {
  std::string text = fmt::format("### Device: {}\n\n{}.\n\n{}\n\n", result.description,
                                 conditions(result), machine_facts(result.load_average));
  const auto add_row = [&text](const std::vector<std::string>& cells) {
    text += fmt::format("| {} |\n", fmt::join(cells, " | "));
  };
  add_row(headings);
  text += "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---|---|---|\n";
  for (const auto& row : cells_of(result))
    add_row(row);
  return text;
}

}  // namespace tool
