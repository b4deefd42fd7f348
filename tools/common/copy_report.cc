#include "common/copy_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/failure.h"
#include "common/text.h"

namespace tool {
namespace {

// The reader of a terminal wants to know what was left out, not to lose the summary over it.
constexpr std::size_t notes_shown_max = 20;

void print_notes(std::string_view heading, const std::vector<PathNote>& notes) {
  if (notes.empty()) return;
  fmt::print(stderr, "{}:\n", heading);
  const std::size_t shown = std::min(notes.size(), notes_shown_max);
  for (std::size_t i = 0; i < shown; ++i) {
    fmt::print(stderr, "  {}: {}\n", printable(notes[i].path), notes[i].reason);
  }
  if (notes.size() > shown) {
    fmt::print(stderr, "  and {} more; --json names them all\n", grouped(notes.size() - shown));
  }
}

nlohmann::ordered_json notes_json(const std::vector<PathNote>& notes) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& note : notes)
    list.push_back({{"path", note.path}, {"reason", note.reason}});
  return list;
}

}  // namespace

std::string describe_routes(const std::uint64_t (&by_route)[handback::route_count]) {
  std::vector<std::pair<std::uint64_t, std::string_view>> taken;
  for (unsigned i = 0; i < handback::route_count; ++i) {
    if (by_route[i] != 0) {
      taken.emplace_back(by_route[i], handback::to_string(static_cast<handback::Route>(i)));
    }
  }
  std::sort(taken.begin(), taken.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text;
  for (const auto& [count, name] : taken) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, grouped(count));
  }
  return text.empty() ? "none" : text;
}

nlohmann::ordered_json routes_json(const std::uint64_t (&by_route)[handback::route_count]) {
  nlohmann::ordered_json routes = nlohmann::ordered_json::object();
  // Route::none is of requests that have not ended.
  for (unsigned i = 1; i < handback::route_count; ++i) {
    routes[std::string(handback::to_string(static_cast<handback::Route>(i)))] = by_route[i];
  }
  return routes;
}

std::string json_text(const nlohmann::ordered_json& value, int indent) {
  return value.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void print_copy_report(std::string_view verb, const CopyReport& report,
                       const handback::IssuerStats& stats) {
  print_notes(fmt::format("left out {}", count_of(report.skipped.size(), "path", "paths")),
              report.skipped);
  print_notes(fmt::format("failed on {}", count_of(report.failed.size(), "file", "files")),
              report.failed);
  fmt::print("{} {}, {} in {}", verb, count_of(report.files, "file", "files"),
             human_size(report.bytes), human_duration(report.elapsed_ns));
  if (report.bytes != 0) fmt::print(" ({})", human_rate(report.bytes, report.elapsed_ns));
  if (report.directories != 0) {
    fmt::print("; made {}", count_of(report.directories, "directory", "directories"));
  }
  fmt::print("\n");
  if (report.files_present != 0) {
    fmt::print("left alone {} that {} there already, {}\n",
               count_of(report.files_present, "file", "files"),
               report.files_present == 1 ? "was" : "were", human_size(report.bytes_present));
  }
  fmt::print("{} by route: {}\n", count_of(stats.delivered, "request", "requests"),
             describe_routes(stats.by_route));
  if (report.signal != 0) {
    fmt::print("stopped by a signal; the same command again copies what is missing\n");
  }
}

nlohmann::ordered_json copy_report_json(std::string_view command, const CopyReport& report,
                                        const handback::IssuerStats& stats) {
  return {{"command", command},
          {"files", report.files},
          {"bytes", report.bytes},
          {"directories", report.directories},
          {"files_present", report.files_present},
          {"bytes_present", report.bytes_present},
          {"elapsed_ns", report.elapsed_ns},
          {"mib_per_s", mib_per_second(report.bytes, report.elapsed_ns)},
          {"requests", stats.delivered},
          {"by_route", routes_json(stats.by_route)},
          {"skipped", notes_json(report.skipped)},
          {"failed", notes_json(report.failed)},
          {"interrupted", report.signal != 0}};
}

int copy_exit_code(const CopyReport& report) {
  if (report.signal != 0) return exit_signal_base + report.signal;
  return report.failed.empty() ? exit_ok : exit_failed;
}

}  // namespace tool
