// How long opening a large volume takes, and what its extents take of memory.
#include <fcntl.h>
#include <fmt/format.h>
#include <handback/memory_device.h>
#include <malloc.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/copy_report.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/text.h"
#include "handback/bench/bench_command.h"
#include "handback/bench/bench_files.h"
#include "handback/bench/statistics.h"
#include "handback/info_json.h"

namespace tool {
namespace {

struct OpenArguments {
  std::string directory;  // Empty: in memory.
  std::uint64_t extents = 1'000'000;
  std::uint64_t files = 100'000;
  unsigned repeats = 3;
  bool json = false;
};

struct OpenRow {
  std::string name;
  handback::VolumeInfo info;
  double open_ns = 0;
  double cpu_ns = 0;  // Of it, at work.
  std::uint64_t extent_memory_bytes = 0;
  std::uint64_t heap_bytes = 0;  // All that the open volume took.
};

// Of the heap, with what it has mapped.
std::uint64_t heap_in_use() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

class LargeVolume {
 public:
  LargeVolume(const OpenArguments& arguments, const Context& context, std::uint64_t size_bytes,
              const char* name) {
    if (arguments.directory.empty()) {
      device_ = handback::make_memory_device({.size_bytes = size_bytes});
    } else {
      path_ = files_.make_folder(arguments.directory) + "/" + name + ".img";
      const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
      const bool made = fd >= 0 && ::ftruncate(fd, static_cast<off_t>(size_bytes)) == 0;
      if (fd >= 0) ::close(fd);
      if (!made) throw Failure(exit_failed, path_ + ": cannot be made");
      device_ = value_of(handback::open_host_device(path_, {.engine = context.engine}), path_);
    }
    issuer_ = value_of(handback::Issuer::create(), "issuer");
    value_of(handback::Volume::format(*issuer_, *device_), "format");
  }
  LargeVolume(const LargeVolume&) = delete;
  LargeVolume& operator=(const LargeVolume&) = delete;
  ~LargeVolume() {
    issuer_.reset();
    device_.reset();
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  std::unique_ptr<handback::Volume> open() {
    return value_of(handback::Volume::open(*issuer_, *device_), "open");
  }
  handback::Issuer& issuer() { return *issuer_; }

 private:
  BenchFiles files_;
  std::string path_;
  std::unique_ptr<handback::BlockDevice> device_;
  std::unique_ptr<handback::Issuer> issuer_;
};

constexpr std::uint64_t commit_every = 50'000;

void fill_with_extents(handback::Volume& volume, handback::Issuer& issuer, std::uint64_t count) {
  const auto file = value_of(volume.open_file(issuer, "/extents", {.create = true}), "/extents");
  Progress progress("making extents", Progress::Unit::runs);
  for (std::uint64_t i = 0; i < count; ++i) {
    value_of(file->preallocate(2 * i * 4096, 4096), "/extents");
    if (i % commit_every != 0) continue;
    value_of(volume.sync(issuer), "sync");
    progress.update(i, count);
    stop_bench_if_interrupted();
  }
}

void fill_with_files(handback::Volume& volume, handback::Issuer& issuer, std::uint64_t count) {
  constexpr std::uint64_t files_in_directory = 1000;
  Progress progress("making files", Progress::Unit::runs);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string directory = fmt::format("/directory-{}", i / files_in_directory);
    if (i % files_in_directory == 0) value_of(volume.mkdir(directory), directory);
    const std::string path = fmt::format("{}/file-{:08}", directory, i);
    const auto file = value_of(volume.open_file(issuer, path, {.create = true}), path);
    value_of(file->preallocate(0, 4096), path);
    if (i % commit_every != 0) continue;
    value_of(volume.sync(issuer), "sync");
    progress.update(i, count);
    stop_bench_if_interrupted();
  }
}

template <typename Fill>
OpenRow measure(const OpenArguments& arguments, const Context& context, const char* name,
                std::uint64_t entries, std::uint64_t entry_bytes, Fill fill) {
  // Its room for metadata is 1/128 of a volume.
  const std::uint64_t size_bytes =
      std::max<std::uint64_t>(std::uint64_t{1} << 30, entries * entry_bytes * 128);
  LargeVolume large(arguments, context, size_bytes, name);
  {
    auto volume = large.open();
    fill(*volume, large.issuer(), entries);
    value_of(volume->close(large.issuer()), "close");
  }
  OpenRow row;
  row.name = name;
  std::vector<double> times;
  std::vector<double> cpu_times;
  for (unsigned repeat = 0; repeat < arguments.repeats; ++repeat) {
    ::malloc_trim(0);
    const std::uint64_t heap_before = heap_in_use();
    const std::clock_t cpu_start = std::clock();
    const auto start = std::chrono::steady_clock::now();
    const auto volume = large.open();
    const auto end = std::chrono::steady_clock::now();
    times.push_back(static_cast<double>((end - start).count()));
    cpu_times.push_back(static_cast<double>(std::clock() - cpu_start) * 1e9 / CLOCKS_PER_SEC);
    row.info = volume->info();
    row.extent_memory_bytes = row.info.extent_memory_bytes;
    row.heap_bytes = heap_in_use() - heap_before;
  }
  row.open_ns = median(times);
  row.cpu_ns = median(cpu_times);
  return row;
}

double bytes_per_extent(const OpenRow& row) {
  return static_cast<double>(row.extent_memory_bytes) / static_cast<double>(row.info.extent_count);
}

int run_open(const OpenArguments& arguments, const Context& context) {
  const InterruptGuard guard;
  std::vector<OpenRow> rows;
  rows.push_back(measure(arguments, context, "extents", arguments.extents, 64, fill_with_extents));
  rows.push_back(measure(arguments, context, "files", arguments.files, 128, fill_with_files));
  if (arguments.json) {
    auto json = nlohmann::ordered_json::array();
    for (const OpenRow& row : rows) {
      json.push_back({{"case", row.name},
                      {"files", row.info.file_count},
                      {"extents", row.info.extent_count},
                      {"metadata_bytes", row.info.metadata_bytes},
                      {"open_ns", row.open_ns},
                      {"cpu_ns", row.cpu_ns},
                      {"extent_memory_bytes", row.extent_memory_bytes},
                      {"memory_bytes_per_extent", bytes_per_extent(row)},
                      {"heap_bytes", row.heap_bytes}});
    }
    fmt::print("{}\n", json_text({{"bench", "open"}, {"rows", std::move(json)}}));
    return exit_ok;
  }
  Table table({Align::left, Align::right, Align::right, Align::right, Align::right, Align::right,
               Align::right});
  table.add_row({"volume", "files", "extents", "open ms", "of it CPU", "memory", "per extent"});
  for (const OpenRow& row : rows) {
    table.add_row({row.name, grouped(row.info.file_count), grouped(row.info.extent_count),
                   fmt::format("{:.1f}", row.open_ns / 1e6),
                   fmt::format("{:.1f}", row.cpu_ns / 1e6), human_size(row.heap_bytes),
                   fmt::format("{:.1f} B", bytes_per_extent(row))});
  }
  table.print(stdout);
  return exit_ok;
}

}  // namespace

void add_open_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<OpenArguments>();
  CLI::App* command = add_command(
      bench, {.group = "Benchmarks",
              .name = "open",
              .description = "Opening a volume with many extents, and one with many files",
              .usage = "bench open [--extents N] [--files N] [--dir DIR] [--repeats R] [--json]",
              .footer =
                  R"(Makes both volumes in memory, or as sparse files in DIR, and opens each several
times. "per extent" is what extents and free space take of memory, "memory" all
that the open volume takes.

Example:
  handback bench open --json
)"});
  command->add_option("--extents", arguments->extents, "Extents of the first; default 1000000")
      ->type_name("N");
  command->add_option("--files", arguments->files, "Files of the second; default 100000")
      ->type_name("N");
  command->add_option("--repeats", arguments->repeats, "Times to open each; default 3")
      ->type_name("R")
      ->check(CLI::PositiveNumber);
  command->add_option("--dir", arguments->directory, "Where to make files; default: in memory")
      ->type_name("DIR");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_open(*arguments, context); };
  });
}

}  // namespace tool
