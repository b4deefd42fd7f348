#include "handback/bench/append_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/text.h"
#include "handback/bench/machine.h"

namespace tool {
namespace {

template <typename Get>
double median_of(const AppendRow& row, Get get) {
  std::vector<double> values;
  for (const RunResult& run : row.runs)
    values.push_back(static_cast<double>(get(run)));
  return median(values);
}

double p50_ns(const AppendRow& row) {
  return median_of(row, [](const RunResult& run) { return run.p50_ns; });
}
double p99_ns(const AppendRow& row) {
  return median_of(row, [](const RunResult& run) { return run.p99_ns; });
}

std::string micro(double ns) {
  return fmt::format("{:.1f}", ns / 1e3);
}

const std::vector<std::string> headings{"in flight", "target", "appends/s", "least to most",
                                        "p50 us",    "p99 us", "way",       "ours over it"};

std::vector<std::vector<std::string>> cells_of(const AppendResult& result) {
  const std::vector<AppendRatio> ratios = append_ratios(result);
  std::vector<std::vector<std::string>> rows;
  for (const AppendRow& row : result.rows) {
    const auto iops = row.iops();
    const auto [least, most] = std::minmax_element(iops.begin(), iops.end());
    std::vector<std::string> over;
    for (const AppendRatio& ratio : ratios) {
      if (ratio.over != &row) continue;
      over.push_back(fmt::format("{:.2f} ({:.2f} to {:.2f})", ratio.pairs.median, ratio.pairs.least,
                                 ratio.pairs.most));
    }
    rows.push_back({fmt::format("{}", row.inflight),
                    row.ours ? "handback in " + row.place : row.place,
                    grouped(static_cast<std::uint64_t>(median(iops))),
                    fmt::format("{} to {}", grouped(static_cast<std::uint64_t>(*least)),
                                grouped(static_cast<std::uint64_t>(*most))),
                    micro(p50_ns(row)), micro(p99_ns(row)), row.way,
                    fmt::format("{}", fmt::join(over, "; "))});
  }
  return rows;
}

std::string conditions(const AppendResult& result) {
  return fmt::format(
      "Durable appends of 4 KiB; {} of {:g} s or {} for each target and number in flight, taking "
      "turns; medians, and the least and most of the runs and pairs",
      count_of(result.options.repeats, "run", "runs"), result.options.seconds,
      human_size(result.options.bytes_max));
}

}  // namespace

std::vector<double> AppendRow::iops() const {
  std::vector<double> values;
  for (const RunResult& run : runs)
    values.push_back(run.iops());
  return values;
}

std::vector<AppendRatio> append_ratios(const AppendResult& result) {
  std::vector<AppendRatio> ratios;
  for (const AppendRow& volume : result.rows) {
    for (const AppendRow& over : result.rows) {
      if (!volume.ours || over.ours || over.inflight != volume.inflight) continue;
      ratios.push_back({&volume, &over, pair_ratios(volume.iops(), over.iops())});
    }
  }
  return ratios;
}

void print_appends(const AppendResult& result) {
  fmt::print("{}\n\n", conditions(result));
  Table table({Align::right, Align::left, Align::right, Align::right, Align::right, Align::right,
               Align::left, Align::left});
  table.add_row(headings);
  for (auto& row : cells_of(result))
    table.add_row(std::move(row));
  table.print(stdout);
}

nlohmann::ordered_json append_json(const AppendResult& result) {
  auto rows = nlohmann::ordered_json::array();
  for (const AppendRow& row : result.rows) {
    const auto iops = row.iops();
    const auto [least, most] = std::minmax_element(iops.begin(), iops.end());
    rows.push_back({{"target", row.target},
                    {"inflight", row.inflight},
                    {"iops", median(iops)},
                    {"p50_ns", p50_ns(row)},
                    {"p99_ns", p99_ns(row)},
                    {"iops_min", *least},
                    {"iops_max", *most},
                    {"place", row.place},
                    {"way", row.way}});
  }
  auto ratios = nlohmann::ordered_json::array();
  for (const AppendRatio& ratio : append_ratios(result)) {
    ratios.push_back({{"inflight", ratio.volume->inflight},
                      {"over", ratio.over->target},
                      {"ratio", ratio.pairs.median},
                      {"pair_min", ratio.pairs.least},
                      {"pair_max", ratio.pairs.most},
                      {"place", ratio.volume->place}});
  }
  return {{"bench", "append"},
          {"load_average", result.load_average},
          {"rows", std::move(rows)},
          {"ratios", std::move(ratios)}};
}

std::string append_markdown(const AppendResult& result) {
  std::string text =
      fmt::format("### Durable appends: {}\n\n{}.\n\n{}\n\n", result.rows.front().place,
                  conditions(result), machine_facts(result.load_average));
  const auto add_row = [&text](const std::vector<std::string>& cells) {
    text += fmt::format("| {} |\n", fmt::join(cells, " | "));
  };
  add_row(headings);
  text += "|---:|---|---:|---:|---:|---:|---|---|\n";
  for (const auto& row : cells_of(result))
    add_row(row);
  return text;
}

}  // namespace tool
