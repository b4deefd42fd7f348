#include "handback/bench/buffered_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/text.h"
#include "handback/bench/machine.h"

namespace tool {
namespace {

template <typename Get>
double median_of(const BufferedRow& row, Get get) {
  std::vector<double> values;
  for (const RunResult& run : row.runs)
    values.push_back(static_cast<double>(get(run)));
  return median(values);
}

double iops_of(const BufferedRow& row) {
  return median_of(row, [](const RunResult& run) { return run.iops(); });
}
double mean_ns(const BufferedRow& row) {
  return median_of(row, [](const RunResult& run) { return 1e9 / run.iops(); });
}
double p50_ns(const BufferedRow& row) {
  return median_of(row, [](const RunResult& run) { return run.p50_ns; });
}
double p99_ns(const BufferedRow& row) {
  return median_of(row, [](const RunResult& run) { return run.p99_ns; });
}
double cpu_ns(const BufferedRow& row) {
  return median_of(row, [](const RunResult& run) { return run.cpu_ns_per_io(); });
}

std::string whole(double value) {
  return grouped(static_cast<std::uint64_t>(value + 0.5));
}

// Each load has a table of its own: what is worth a column differs.
struct LoadTable {
  std::string load;
  std::string title;
  std::vector<std::string> headings;
  std::vector<std::vector<std::string>> rows;
};

// "0.98 (0.95 to 1.02)" of each buffered way over this one, in their order.
std::string over_text(const std::vector<BufferedRatio>& ratios, const BufferedRow& row) {
  std::vector<std::string> texts;
  for (const BufferedRatio& ratio : ratios) {
    if (ratio.over != &row) continue;
    texts.push_back(fmt::format("{:.2f} ({:.2f} to {:.2f})", ratio.pairs.median, ratio.pairs.least,
                                ratio.pairs.most));
  }
  return fmt::format("{}", fmt::join(texts, "; "));
}

std::vector<LoadTable> tables_of(const BufferedResult& result) {
  std::vector<LoadTable> tables{
      {"hits",
       "Single 4 KiB reads, all in the cache",
       {"within", "target", "ns (mean)", "ns (p50)", "ns (p99)", "buffered over it"},
       {}},
      {"misses",
       "Random 4 KiB reads, next to none in the cache",
       {"depth", "target", "IOPS", "p50 us", "p99 us", "CPU ns", "buffered over it"},
       {}},
      {"reads in order", "Reads in order", {}, {}},
      {"writes in order", "Writes in order, an fsync after each 16 MiB", {}, {}}};
  for (LoadTable& table : tables) {
    if (table.headings.empty())
      table.headings = {"target", "MB/s", "p50 us", "p99 us", "CPU ns per KiB", "buffered over it"};
  }
  const std::vector<BufferedRatio> ratios = buffered_ratios(result);
  for (const BufferedRow& row : result.rows) {
    const auto table = std::find_if(tables.begin(), tables.end(), [&](const LoadTable& of) {
      return row.load.starts_with(of.load);
    });
    const std::string over = over_text(ratios, row);
    const std::string p50_us = fmt::format("{:.1f}", p50_ns(row) / 1e3);
    const std::string p99_us = fmt::format("{:.1f}", p99_ns(row) / 1e3);
    if (table->load == "hits") {
      table->rows.push_back({row.load.substr(table->load.size() + 2), row.target,
                             whole(mean_ns(row)), whole(p50_ns(row)), whole(p99_ns(row)), over});
    } else if (row.load == "misses") {
      table->rows.push_back({fmt::format("{}", row.depth), row.target, whole(iops_of(row)), p50_us,
                             p99_us, whole(cpu_ns(row)), over});
    } else {
      table->rows.push_back({row.target, whole(median(row.bytes_per_second()) / 1e6), p50_us,
                             p99_us, whole(cpu_ns(row) * 1024 / row.bytes), over});
    }
  }
  std::erase_if(tables, [](const LoadTable& of) { return of.rows.empty(); });
  return tables;
}

std::string conditions(const BufferedResult& result) {
  const LoadOptions& load = result.options.load;
  return fmt::format(
      "A file of {} in {}; misses through a page cache of {}, in order "
      "through one of {}; {} of {:g} s for each way, taking turns; medians, and the least and "
      "most of the pairs",
      human_size(load.file_bytes), result.description, human_size(result.miss_cache_bytes),
      human_size(result.order_cache_bytes), count_of(load.repeats, "run", "runs"), load.seconds);
}

}  // namespace

void print_buffered(const BufferedResult& result) {
  fmt::print("{}\n", conditions(result));
  for (const LoadTable& of : tables_of(result)) {
    fmt::print("\n{}\n\n", of.title);
    std::vector<Align> aligns;
    for (const std::string& heading : of.headings) {
      const bool text = heading == "target" || heading == "buffered over it";
      aligns.push_back(text ? Align::left : Align::right);
    }
    Table table(aligns);
    table.add_row(of.headings);
    for (const auto& row : of.rows)
      table.add_row(row);
    table.print(stdout);
  }
  fmt::print(
      "\nbuffered over it: bytes per second of each buffered way, in their order, over this one's. "
      "CPU: of all threads.\n");
}

nlohmann::ordered_json buffered_json(const BufferedResult& result) {
  auto rows = nlohmann::ordered_json::array();
  for (const BufferedRow& row : result.rows) {
    rows.push_back({{"load", row.load},
                    {"qd", row.depth},
                    {"target", row.target},
                    {"bytes", row.bytes},
                    {"iops", iops_of(row)},
                    {"bytes_per_second", median(row.bytes_per_second())},
                    {"mean_ns", mean_ns(row)},
                    {"p50_ns", p50_ns(row)},
                    {"p99_ns", p99_ns(row)},
                    {"cpu_ns_per_io", cpu_ns(row)}});
  }
  auto ratios = nlohmann::ordered_json::array();
  for (const BufferedRatio& ratio : buffered_ratios(result)) {
    ratios.push_back({{"load", ratio.ours->load},
                      {"qd", ratio.ours->depth},
                      {"target", ratio.ours->target},
                      {"over", ratio.over->target},
                      {"ratio", ratio.pairs.median},
                      {"pair_min", ratio.pairs.least},
                      {"pair_max", ratio.pairs.most}});
  }
  return {{"bench", "buffered"},
          {"device", result.kind},
          {"load_average", result.load_average},
          {"rows", std::move(rows)},
          {"ratios", std::move(ratios)}};
}

std::string buffered_markdown(const BufferedResult& result) {
  std::string text = fmt::format("### Buffered I/O: {}\n\n{}.\n\n{}\n", result.description,
                                 conditions(result), machine_facts(result.load_average));
  for (const LoadTable& table : tables_of(result)) {
    text += fmt::format("\n{}:\n\n| {} |\n|", table.title, fmt::join(table.headings, " | "));
    for (const std::string& heading : table.headings)
      text += heading == "target" || heading == "buffered over it" ? "---|" : "---:|";
    text += '\n';
    for (const auto& row : table.rows)
      text += fmt::format("| {} |\n", fmt::join(row, " | "));
  }
  return text;
}

}  // namespace tool
