#include "demo/demo_result.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/failure.h"
#include "common/text.h"

namespace tool {
namespace {

// Both lives of the copy: the one that was killed, and the one that completed it.
struct Written {
  std::uint64_t bytes = 0;
  std::uint64_t elapsed_ns = 0;
  std::uint64_t by_route[handback::route_count] = {};
};

Written written_in(const DemoResult& result) {
  Written written;
  written.bytes = result.killed.done_bytes + result.completed.bytes;
  written.elapsed_ns = result.killed.elapsed_ns + result.completed.elapsed_ns;
  for (unsigned i = 0; i < handback::route_count; ++i) {
    written.by_route[i] = result.killed.by_route[i] + result.completed_by_route[i];
  }
  return written;
}

nlohmann::ordered_json notes_json(const std::vector<PathNote>& notes) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& note : notes)
    list.push_back({{"path", note.path}, {"reason", note.reason}});
  return list;
}

}  // namespace

void print_demo_table(const DemoResult& result) {
  const Written written = written_in(result);
  Table table({Align::left, Align::left});
  table.add_row({"files", grouped(result.comparison.files)});
  table.add_row({"bytes", human_size(result.comparison.bytes)});
  table.add_row({"write", fmt::format("{:.0f} MiB/s ({} in both lives of the copy)",
                                      mib_per_second(written.bytes, written.elapsed_ns),
                                      human_size(written.bytes))});
  table.add_row({"read back", fmt::format("{:.0f} MiB/s (with SHA-256)",
                                          mib_per_second(result.comparison.bytes,
                                                         result.comparison.elapsed_ns))});
  table.add_row({"writes by route", describe_routes(written.by_route)});
  table.add_row({"reads by route", describe_routes(result.read_by_route)});
  table.add_row({"check findings", grouped(result.check.findings.size())});
  table.add_row({"mismatches", grouped(result.comparison.mismatches.size())});
  table.add_row({"time", human_duration(result.elapsed_ns)});
  table.print(stdout, "   ");
}

void write_demo_json(const DemoResult& result, const std::string& path) {
  const Written written = written_in(result);
  const nlohmann::ordered_json json = {
      {"demo", "put_kill_recover_compare"},
      {"ok", result.good()},
      {"seed", result.seed},
      {"tree", result.tree},
      {"files", result.comparison.files},
      {"bytes", result.comparison.bytes},
      {"volume_bytes", result.volume_bytes},
      {"killed",
       {{"aimed_at_bytes", result.kill_at_bytes},
        {"at_bytes", result.killed.done_bytes},
        {"of_bytes", result.killed.total_bytes},
        {"requests_in_flight", result.killed.in_flight}}},
      {"recovery",
       {{"open_ns", result.open_ns},
        {"clean", result.recovery.clean},
        {"records_replayed", result.recovery.records_replayed},
        {"changes_replayed", result.recovery.changes_replayed},
        {"torn_record_dropped", result.recovery.torn_record_dropped},
        {"files_complete", result.completed.files_present},
        {"bytes_complete", result.completed.bytes_present}}},
      {"write",
       {{"bytes", written.bytes},
        {"elapsed_ns", written.elapsed_ns},
        {"mib_per_s", mib_per_second(written.bytes, written.elapsed_ns)},
        {"by_route", routes_json(written.by_route)}}},
      {"read_back",
       {{"bytes", result.comparison.bytes},
        {"elapsed_ns", result.comparison.elapsed_ns},
        {"mib_per_s", mib_per_second(result.comparison.bytes, result.comparison.elapsed_ns)},
        {"by_route", routes_json(result.read_by_route)}}},
      {"check_findings", result.check.findings.size()},
      {"mismatches", result.comparison.mismatches.size()},
      {"mismatched", notes_json(result.comparison.mismatches)},
      {"elapsed_ns", result.elapsed_ns}};
  std::FILE* file = std::fopen(path.c_str(), "we");
  if (file == nullptr) throw failure_of_errno(errno, path);
  const std::string text = json_text(json) + "\n";
  const bool written_whole = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (std::fclose(file) != 0 || !written_whole) throw failure_of_errno(errno, path);
}

}  // namespace tool
