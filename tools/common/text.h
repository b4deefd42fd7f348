// Numbers, names and tables as people read them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tool {

// "0 B", "1023 B", "1.5 KiB", "12.3 MiB", "256 MiB": three digits are enough to compare by eye.
[[nodiscard]] std::string human_size(std::uint64_t bytes);

// "3 ms", "1.2 s", "2 min 5 s".
[[nodiscard]] std::string human_duration(std::uint64_t duration_ns);

// "171 MiB/s"; "-" for nothing in no time.
[[nodiscard]] std::string human_rate(std::uint64_t bytes, std::uint64_t duration_ns);
[[nodiscard]] double mib_per_second(std::uint64_t bytes, std::uint64_t duration_ns);

// 1234567 as "1,234,567".
[[nodiscard]] std::string grouped(std::uint64_t number);

// "1 file", "2,345 files".
[[nodiscard]] std::string count_of(std::uint64_t count, std::string_view one,
                                   std::string_view many);

// Local time: "2025-11-23 07:00:12".
[[nodiscard]] std::string local_time(std::int64_t since_1970_ns);

// "4096", "64K", "1.5G", "2TiB", in powers of 1024. Empty if it is not a size or does not fit.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

// A name from a volume or the host, with bytes that would move a terminal's cursor shown as \x1b.
[[nodiscard]] std::string printable(std::string_view name);

enum class Align { left, right };

// Rows of cells in columns as wide as their widest cell. The last column is not padded, so that
// names, which may hold characters of any width, go there.
class Table {
 public:
  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}

  // Requires: as many cells as columns.
  void add_row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void print(std::FILE* to, std::string_view indent = "") const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace tool
