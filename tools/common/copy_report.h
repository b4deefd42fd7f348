// What a copy of a tree did, in either direction, and how it says so.
#pragma once

#include <handback/issuer.h>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace tool {

// A path and why it was left out.
struct PathNote {
  std::string path;
  std::string reason;
};

struct CopyReport {
  std::uint64_t files = 0;  // Copied now.
  std::uint64_t bytes = 0;
  std::uint64_t directories = 0;    // Made now.
  std::uint64_t files_present = 0;  // Not copied: there already, same size and time.
  std::uint64_t bytes_present = 0;
  std::uint64_t elapsed_ns = 0;
  int signal = 0;                 // That stopped the copy, or 0.
  std::vector<PathNote> skipped;  // Things that are neither files nor directories.
  std::vector<PathNote> failed;   // One file each; the others were copied.
};

struct CopyProgress {
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;
};

// Called after each transfer, on the copying thread.
using CopyWatcher = std::function<void(const CopyProgress& progress)>;

// For people: to standard error what was left out, to standard output the summary.
void print_copy_report(std::string_view verb, const CopyReport& report,
                       const handback::IssuerStats& stats);
[[nodiscard]] nlohmann::ordered_json copy_report_json(std::string_view command,
                                                      const CopyReport& report,
                                                      const handback::IssuerStats& stats);

// "issuer 4,012, inline 3": the routes that were taken, most used first; "none" if there was no
// request.
[[nodiscard]] std::string describe_routes(const std::uint64_t (&by_route)[handback::route_count]);

// {"inline": 3, "issuer": 4012}: all routes.
[[nodiscard]] nlohmann::ordered_json routes_json(
    const std::uint64_t (&by_route)[handback::route_count]);

// One line of text; bytes of names that are no UTF-8 are replaced, because JSON cannot hold them.
[[nodiscard]] std::string json_text(const nlohmann::ordered_json& value, int indent = 2);

// ok, failed, or stopped by a signal.
[[nodiscard]] int copy_exit_code(const CopyReport& report);

}  // namespace tool
