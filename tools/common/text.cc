#include "common/text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <ctime>

namespace tool {

std::string human_size(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  static constexpr std::array<std::string_view, 6> units{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // 1023.5 would print as "1024".
  while (value >= 1023.5 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  const bool whole = value == std::floor(value);
  return fmt::format("{:.{}f} {}", value, whole || value >= 99.95 ? 0 : 1, units[unit]);
}

std::string human_duration(std::uint64_t duration_ns) {
  const double seconds = static_cast<double>(duration_ns) * 1e-9;
  if (seconds < 0.001) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

double mib_per_second(std::uint64_t bytes, std::uint64_t duration_ns) {
  if (duration_ns == 0) return 0;
  return static_cast<double>(bytes) / (1 << 20) / (static_cast<double>(duration_ns) * 1e-9);
}

std::string human_rate(std::uint64_t bytes, std::uint64_t duration_ns) {
  if (bytes == 0 || duration_ns == 0) return "-";
  const double per_second = static_cast<double>(bytes) / (static_cast<double>(duration_ns) * 1e-9);
  return human_size(static_cast<std::uint64_t>(per_second)) + "/s";
}

std::string grouped(std::uint64_t number) {
  std::string digits = fmt::format("{}", number);
  for (std::size_t place = digits.size(); place > 3;) {
    place -= 3;
    digits.insert(place, 1, ',');
  }
  return digits;
}

std::string count_of(std::uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", grouped(count), count == 1 ? one : many);
}

std::string local_time(std::int64_t since_1970_ns) {
  std::int64_t seconds = since_1970_ns / 1'000'000'000;
  if (since_1970_ns % 1'000'000'000 < 0) --seconds;
  const auto clock = static_cast<std::time_t>(seconds);
  std::tm local{};
  if (localtime_r(&clock, &local) == nullptr) return "-";
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", local);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const std::string copy(text);
  // strtod would also take signs, spaces, "inf" and hexadecimal.
  if (copy.empty() || std::isdigit(static_cast<unsigned char>(copy[0])) == 0) return std::nullopt;
  if (copy.find_first_of("xX") != std::string::npos) return std::nullopt;
  std::size_t digits = 0;
  while (digits < copy.size() &&
         (std::isdigit(static_cast<unsigned char>(copy[digits])) != 0 || copy[digits] == '.')) {
    ++digits;
  }
  std::string unit;
  for (const char letter : copy.substr(digits)) {
    unit += static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  }
  unsigned shift = 0;
  if (!unit.empty() && unit != "B") {
    const std::size_t power = std::string_view("KMGTPE").find(unit[0]);
    const std::string rest = unit.substr(1);
    if (power == std::string_view::npos || (!rest.empty() && rest != "B" && rest != "IB")) {
      return std::nullopt;
    }
    shift = 10 * (static_cast<unsigned>(power) + 1);
  }
  const std::string number = copy.substr(0, digits);
  if (number.find('.') == std::string::npos) {
    errno = 0;
    const std::uint64_t whole = std::strtoull(number.c_str(), nullptr, 10);
    if (errno == ERANGE || (shift != 0 && whole >> (64 - shift) != 0)) return std::nullopt;
    return whole << shift;
  }
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end) * std::ldexp(1.0, static_cast<int>(shift));
  if (*end != '\0' || !(value < 0x1p64)) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

std::string printable(std::string_view name) {
  std::string text;
  for (const char letter : name) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte < 0x20 || byte == 0x7f) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += letter;
    }
  }
  return text;
}

void Table::print(std::FILE* to, std::string_view indent) const {
  std::vector<std::size_t> widths(columns_.size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows_) {
    std::string line(indent);
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size();
      if (columns_[i] == Align::right) {
        line += fmt::format("{:>{}}", row[i], widths[i]);
      } else {
        line += last ? row[i] : fmt::format("{:<{}}", row[i], widths[i]);
      }
      if (!last) line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print(to, "{}\n", line);
  }
}

}  // namespace tool
