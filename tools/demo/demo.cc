#include "demo/demo.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "common/copy_tree.h"
#include "common/failure.h"
#include "common/host_tree.h"
#include "common/interrupt.h"
#include "common/paths.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/volume_session.h"
#include "demo/demo_result.h"
#include "demo/random_file.h"
#include "demo/temporary_folder.h"

namespace tool {
namespace {

constexpr std::uint64_t host_block_bytes = 4096;
constexpr double kill_from = 0.15;
constexpr double kill_to = 0.85;

void stop_if_interrupted() {
  if (interrupted_by() != 0)
    throw Failure(exit_signal_base + interrupted_by(), "stopped by a signal");
}

template <typename... Arguments>
void say(int step, fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  static constexpr const char* names[] = {"",        "Source",   "Volume", "Copy, and die",
                                          "Recover", "Complete", "Check",  "Compare"};
  fmt::print("{}. {:<14} {}\n", step, names[step],
             fmt::format(text, std::forward<Arguments>(arguments)...));
  std::fflush(stdout);
}

// The tree, without what this user may not read.
HostTree read_sources(const std::string& path, const std::string& left_out) {
  if (access(path.c_str(), F_OK) != 0) {
    throw Failure(exit_failed, fmt::format("{}: {}; name another tree: ./dev demo PATH", path,
                                           std::strerror(errno)));
  }
  HostTree all;
  std::string name = base_name(normal_path(path));
  if (name.empty() || name == "." || name == "..") name = "tree";
  add_host_tree(path, "/" + name, left_out, &all);
  HostTree tree;
  tree.directories = std::move(all.directories);
  tree.skipped = std::move(all.skipped);
  tree.failed = std::move(all.failed);
  for (auto& file : all.files) {
    if (access(file.host_path.c_str(), R_OK) != 0) {
      tree.failed.push_back({file.host_path, std::strerror(errno)});
      continue;
    }
    tree.bytes += file.size_bytes;
    tree.files.push_back(std::move(file));
  }
  return tree;
}

// Head room: a tenth, and the fixed parts of a small volume. A volume's room for metadata grows
// with its size, so many small files need a size of their own.
std::uint64_t volume_bytes_for(const HostTree& tree, std::uint64_t generated_bytes) {
  std::uint64_t blocks = generated_bytes / host_block_bytes + 1;
  for (const auto& file : tree.files)
    blocks += (file.size_bytes + host_block_bytes - 1) / host_block_bytes;
  const std::uint64_t for_data = blocks * host_block_bytes / 10 * 11 + (64U << 20);
  const std::uint64_t for_names = (tree.files.size() + tree.directories.size()) * (40U << 10);
  return (std::max(for_data, for_names) + host_block_bytes - 1) / host_block_bytes *
         host_block_bytes;
}

void require_disk_space(const std::string& directory, std::uint64_t needed_bytes) {
  const std::uint64_t free_bytes = free_disk_bytes(directory);
  if (free_bytes >= needed_bytes) return;
  throw Failure(
      exit_no_space,
      fmt::format(
          "{}: {} free, and the demo needs {}; name another folder with --dir, or a smaller "
          "tree, or make the generated file smaller with --size",
          directory, human_size(free_bytes), human_size(needed_bytes)));
}

void describe_sources(const DemoArguments& arguments, const HostTree& tree) {
  say(1, "{}: {}, {}; and one generated file of {}", arguments.tree,
      count_of(tree.files.size(), "file", "files"), human_size(tree.bytes),
      human_size(arguments.generated_bytes));
  if (!tree.skipped.empty()) {
    fmt::print("   {:<14} left out {}\n", "",
               count_of(tree.skipped.size(), "link or special file", "links and special files"));
  }
  if (!tree.failed.empty()) {
    fmt::print("   {:<14} left out {} that this user may not read\n", "",
               count_of(tree.failed.size(), "path", "paths"));
  }
}

void make_volume(const std::string& path, std::uint64_t size_bytes) {
  const std::uint64_t started_ns = monotonic_ns();
  {
    Progress progress("writing");
    const auto created = handback::create_host_file(
        path, size_bytes, [&progress](std::uint64_t done_bytes, std::uint64_t total_bytes) {
          progress.update(done_bytes, total_bytes);
          return interrupted_by() == 0;
        });
    stop_if_interrupted();
    value_of(handback::Result<void>(created), path);
  }
  SessionOptions writing;
  writing.writable = true;
  const DeviceSession session(path, writing);
  value_of(handback::Volume::format(session.issuer(), session.device(), {.label = "demo"}), path);
  say(2, "made {}, {}, written in full and formatted in {}", path, human_size(size_bytes),
      human_duration(monotonic_ns() - started_ns));
}

void recover_and_complete(const std::string& path, const HostTree& tree, DemoResult* result) {
  SessionOptions writing;
  writing.writable = true;
  writing.quiet = true;  // This is the place that tells of recovery.
  const std::uint64_t started_ns = monotonic_ns();
  VolumeSession session(path, writing);
  result->open_ns = monotonic_ns() - started_ns;
  result->recovery = session.volume().recovery();
  say(4, "opened in {}; {}", human_duration(result->open_ns), describe_recovery(result->recovery));
  {
    Progress progress("copying");
    result->completed = put_tree(
        session.volume(), session.issuer(), tree,
        [&progress](const CopyProgress& now) { progress.update(now.done_bytes, now.total_bytes); });
  }
  stop_if_interrupted();
  session.close();
  const handback::IssuerStats& stats = session.issuer().stats();
  std::copy(std::begin(stats.by_route), std::end(stats.by_route), result->completed_by_route);
  say(5, "{} complete, {}; copied the other {}, {}, in {}",
      result->completed.files_present == 1
          ? "1 file was"
          : grouped(result->completed.files_present) + " files were",
      human_size(result->completed.bytes_present), grouped(result->completed.files),
      human_size(result->completed.bytes), human_duration(result->completed.elapsed_ns));
}

void check(const std::string& path, DemoResult* result) {
  const DeviceSession session(path, {});
  result->check =
      value_of(handback::check_volume(session.issuer(), session.device()), path, Phase::opening);
  say(6, "{}: {}, {}; {} of metadata read",
      result->check.findings.empty()
          ? "consistent"
          : count_of(result->check.findings.size(), "finding", "findings"),
      count_of(result->check.info.file_count, "file", "files"),
      count_of(result->check.info.extent_count, "extent", "extents"),
      count_of(result->check.blocks_read, "block", "blocks"));
  for (const auto& finding : result->check.findings) {
    fmt::print("   block {}: {}, {}: {}; {}\n", finding.block, finding.structure, finding.field,
               finding.problem, finding.consequence);
  }
}

void compare(const std::string& path, const HostTree& tree, DemoResult* result) {
  VolumeSession session(path, {});
  result->comparison = compare_with_sources(session.volume(), session.issuer(), tree);
  const handback::IssuerStats& stats = session.issuer().stats();
  std::copy(std::begin(stats.by_route), std::end(stats.by_route), result->read_by_route);
  say(7, "read {} back with direct I/O, {}, and compared SHA-256 in {}: {}",
      count_of(result->comparison.files, "file", "files"), human_size(result->comparison.bytes),
      human_duration(result->comparison.elapsed_ns),
      result->comparison.mismatches.empty()
          ? "all equal"
          : count_of(result->comparison.mismatches.size(), "mismatch", "mismatches"));
  for (const auto& mismatch : result->comparison.mismatches) {
    fmt::print("   {}: {}\n", printable(mismatch.path), mismatch.reason);
  }
  session.close();
}

std::string default_directory() {
  const char* variable = std::getenv("TMPDIR");
  return variable != nullptr && *variable != '\0' ? variable : "/tmp";
}

}  // namespace

int run_demo(const DemoArguments& arguments) {
  const InterruptGuard guard;
  const std::uint64_t started_ns = monotonic_ns();
  DemoResult result;
  result.seed = arguments.seed.value_or(fresh_seed());
  result.tree = arguments.tree;
  SeededNumbers numbers(result.seed);
  const std::uint64_t content_seed = numbers.next();
  const double kill_fraction = kill_from + (kill_to - kill_from) * numbers.next_fraction();

  const std::string directory =
      arguments.directory.empty() ? default_directory() : arguments.directory;
  fmt::print("Handback demo: from an empty file to verified bytes, with a crash in between.\n");
  fmt::print("Seed {0}; the same run again: ./dev demo --seed {0}\n\n", result.seed);

  HostTree tree = read_sources(arguments.tree, "");
  result.volume_bytes = volume_bytes_for(tree, arguments.generated_bytes);
  require_disk_space(directory, result.volume_bytes + arguments.generated_bytes + (16U << 20));
  describe_sources(arguments, tree);

  const TemporaryFolder folder(directory, arguments.keep);
  const std::string generated = folder.path() + "/generated.bin";
  const std::string volume = folder.path() + "/volume.img";
  write_random_file(generated, arguments.generated_bytes, content_seed);
  add_host_tree(generated, "/generated.bin", "", &tree);
  make_volume(volume, result.volume_bytes);

  result.kill_at_bytes =
      static_cast<std::uint64_t>(kill_fraction * static_cast<double>(tree.bytes));
  result.killed = copy_and_kill(volume, tree, result.kill_at_bytes);
  say(3, "SIGKILL after {} of {} ({:.0f} %), {} in flight", human_size(result.killed.done_bytes),
      human_size(tree.bytes),
      100 * static_cast<double>(result.killed.done_bytes) / static_cast<double>(tree.bytes),
      count_of(result.killed.in_flight, "request", "requests"));

  recover_and_complete(volume, tree, &result);
  check(volume, &result);
  compare(volume, tree, &result);
  result.elapsed_ns = monotonic_ns() - started_ns;

  fmt::print("\n");
  print_demo_table(result);
  if (!arguments.json.empty()) write_demo_json(result, arguments.json);
  if (arguments.keep) fmt::print("\nKept: {}\n", folder.path());
  for (const auto& failed : result.completed.failed) {
    print_error(fmt::format("{}: {}", printable(failed.path), failed.reason));
  }
  return result.good() ? exit_ok : exit_failed;
}

}  // namespace tool
