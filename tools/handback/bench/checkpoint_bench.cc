// What durable appends take while a checkpoint is being written, against while none is.
#include <fmt/format.h>
#include <handback/memory_device.h>

#include <chrono>
#include <cstring>
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
#include "handback/bench/latency_histogram.h"
#include "handback/info_json.h"

namespace tool {
namespace {

constexpr std::uint64_t append_bytes = 4096;

struct CheckpointArguments {
  std::string directory;  // Empty: in memory.
  std::uint64_t extents = 1'000'000;
  std::uint64_t checkpoints = 5;
  bool json = false;
};

struct CheckpointResult {
  LatencyHistogram during;
  LatencyHistogram without;
  // What the appending thread worked meanwhile: other programs on a busy machine do not count.
  LatencyHistogram cpu_during;
  LatencyHistogram cpu_without;
  std::uint64_t checkpoints = 0;
  std::uint64_t most_during_ns = 0;
  std::uint64_t most_without_ns = 0;
  std::uint64_t checkpoint_bytes = 0;
};

std::uint64_t thread_cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void make_extents(handback::Volume& volume, handback::Issuer& issuer, std::uint64_t count) {
  const auto file = value_of(volume.open_file(issuer, "/extents", {.create = true}), "/extents");
  for (std::uint64_t i = 0; i < count; ++i) {
    value_of(file->preallocate(2 * i * append_bytes, append_bytes), "/extents");
    if (i % 50'000 == 0) value_of(volume.sync(issuer), "sync");
  }
  value_of(volume.sync(issuer), "sync");
}

CheckpointResult measure(const CheckpointArguments& arguments, handback::Volume& volume,
                         handback::Issuer& issuer) {
  make_extents(volume, issuer, arguments.extents);
  const auto file = value_of(volume.open_file(issuer, "/log", {.create = true}), "/log");
  handback::AlignedBuffer data(append_bytes);
  std::memset(data.data(), 1, data.size());
  CheckpointResult result;
  result.checkpoint_bytes = volume.info().metadata_bytes;
  const std::uint64_t first = volume.info().checkpoint_generation;
  Progress progress("appending", Progress::Unit::runs);
  handback::Aiocb request;
  for (;;) {
    const bool before = volume.info().checkpoint_running;
    const std::uint64_t cpu_start = thread_cpu_ns();
    const auto start = std::chrono::steady_clock::now();
    request.prepare_write(*file, 0, data.span(),
                          handback::KiocbFlags::append | handback::KiocbFlags::dsync);
    const handback::IoResult written = issuer.run(request);
    const auto end = std::chrono::steady_clock::now();
    const std::uint64_t cpu_took = thread_cpu_ns() - cpu_start;
    if (!written.ok()) throw Failure(exit_failed, "appending: " + handback::describe(written));
    const handback::VolumeInfo info = volume.info();
    const auto took = static_cast<std::uint64_t>((end - start).count());
    const bool during = before || info.checkpoint_running;
    (during ? result.during : result.without).add(took);
    (during ? result.cpu_during : result.cpu_without).add(cpu_took);
    auto& most = during ? result.most_during_ns : result.most_without_ns;
    most = std::max(most, took);
    result.checkpoints = info.checkpoint_generation - first;
    if (result.checkpoints >= arguments.checkpoints && !info.checkpoint_running) return result;
    // So that the device need not be larger than what one checkpoint takes to come.
    if (file->size() >= (std::uint64_t{256} << 20)) value_of(file->truncate(issuer, 0), "/log");
    progress.update(result.checkpoints, arguments.checkpoints);
    stop_bench_if_interrupted();
  }
}

nlohmann::ordered_json row_json(const char* when, const LatencyHistogram& latencies,
                                const LatencyHistogram& cpu, std::uint64_t most) {
  return {{"when", when},
          {"appends", latencies.count()},
          {"p50_ns", latencies.quantile_ns(0.5)},
          {"p99_ns", latencies.quantile_ns(0.99)},
          {"p999_ns", latencies.quantile_ns(0.999)},
          {"max_ns", most},
          {"cpu_p50_ns", cpu.quantile_ns(0.5)},
          {"cpu_p99_ns", cpu.quantile_ns(0.99)}};
}

int run_checkpoint(const CheckpointArguments& arguments, const Context& context) {
  const InterruptGuard guard;
  BenchFiles files;
  const std::uint64_t size_bytes =
      std::max<std::uint64_t>(std::uint64_t{2} << 30, arguments.extents * 64 * 128);
  std::unique_ptr<handback::BlockDevice> device;
  if (arguments.directory.empty()) {
    device = handback::make_memory_device({.size_bytes = size_bytes});
  } else {
    const std::string path = files.make_folder(arguments.directory) + "/volume.img";
    files.create(path, size_bytes);
    device = value_of(handback::open_host_device(path, {.engine = context.engine}), path);
  }
  const auto issuer = value_of(handback::Issuer::create(), "issuer");
  value_of(handback::Volume::format(*issuer, *device), "format");
  const CheckpointResult result = [&] {
    const auto volume = value_of(handback::Volume::open(*issuer, *device), "open");
    return measure(arguments, *volume, *issuer);
  }();
  const double ratio =
      static_cast<double>(result.during.quantile_ns(0.99)) /
      static_cast<double>(std::max<std::uint64_t>(result.without.quantile_ns(0.99), 1));
  if (arguments.json) {
    fmt::print(
        "{}\n",
        json_text(
            {{"bench", "checkpoint"},
             {"extents", arguments.extents},
             {"checkpoint_bytes", result.checkpoint_bytes},
             {"checkpoints", result.checkpoints},
             {"rows",
              {row_json("without", result.without, result.cpu_without, result.most_without_ns),
               row_json("during", result.during, result.cpu_during, result.most_during_ns)}},
             {"p99_ratio", ratio}}));
    return exit_ok;
  }
  fmt::print("durable 4 KiB appends, one in flight; {} checkpoints of {}\n\n", result.checkpoints,
             human_size(result.checkpoint_bytes));
  Table table({Align::left, Align::right, Align::right, Align::right, Align::right, Align::right,
               Align::right});
  table.add_row(
      {"checkpoint", "appends", "p50 us", "p99 us", "p99.9 us", "most us", "p99 us of CPU"});
  const auto add_row = [&table](const char* when, const LatencyHistogram& latencies,
                                const LatencyHistogram& cpu, std::uint64_t most) {
    const auto us = [](std::uint64_t ns) { return fmt::format("{:.1f}", double(ns) / 1e3); };
    table.add_row({when, grouped(latencies.count()), us(latencies.quantile_ns(0.5)),
                   us(latencies.quantile_ns(0.99)), us(latencies.quantile_ns(0.999)), us(most),
                   us(cpu.quantile_ns(0.99))});
  };
  add_row("none", result.without, result.cpu_without, result.most_without_ns);
  add_row("being written", result.during, result.cpu_during, result.most_during_ns);
  table.print(stdout);
  fmt::print("\np99 while one is written: {:.2f} times that without\n", ratio);
  return exit_ok;
}

}  // namespace

void add_checkpoint_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<CheckpointArguments>();
  CLI::App* command = add_command(
      bench, {.group = "Benchmarks",
              .name = "checkpoint",
              .description = "Durable appends while a checkpoint is written, against while none is",
              .usage = "bench checkpoint [--extents N] [--checkpoints N] [--dir DIR] [--json]",
              .footer =
                  R"(Makes a volume with many extents, in memory or as a file in DIR, and appends to
another file of it until the log has caused that many checkpoints.

Example:
  handback bench checkpoint --json
)"});
  command->add_option("--extents", arguments->extents, "Extents of the volume; default 1000000")
      ->type_name("N");
  command->add_option("--checkpoints", arguments->checkpoints, "How many to see; default 5")
      ->type_name("N");
  command->add_option("--dir", arguments->directory, "Where to make a file; default: in memory")
      ->type_name("DIR");
  add_json_option(*command, &arguments->json);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] { return run_checkpoint(*arguments, context); };
  });
}

}  // namespace tool
