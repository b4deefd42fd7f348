#include "handback/bench/layers.h"

#include <algorithm>
#include <cstdlib>

#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/bench/bench_files.h"
#include "handback/bench/processor_counters.h"

namespace tool {
namespace {

constexpr std::array<LayerInfo, layer_count> infos{{
    {"kiocb", "prepare and submit the request", 50},
    {"file", "what kind of request it is, and whether it may be", 60},
    {"mapping", "where the file's bytes lie", 60},
    {"dio", "its record, its range, its bios", 170},
    {"bio", "the queue and the device", 80},
    {"settle", "the end of the bios, and of the file's part", 130},
    {"deliver", "the turn of the issuer, up to the callback", 50},
    {"the load", "the benchmark's own", 0},
}};

struct Entry {
  std::string_view begin;  // Of the name, without namespaces.
  Layer layer;
};

// The longest that fits decides.
constexpr Entry entries[] = {
    {"tool::", Layer::load},
    {"tool::QuietDevice::Queue::", Layer::bio},

    {"Aiocb::prepare", Layer::kiocb},
    {"Issuer::submit(", Layer::kiocb},
    {"Issuer::Impl::submit(", Layer::kiocb},

    {"VolumeFile::", Layer::file},
    {"DeviceFile::", Layer::file},
    {"VolumeImpl::check_writable_io", Layer::file},

    {"ExtentMap::", Layer::mapping},
    {"VolumeFile::Impl::iomap_begin", Layer::mapping},
    {"VolumeFile::Impl::find_extent", Layer::mapping},
    {"VolumeImpl::unconfirmed_in", Layer::mapping},
    {"DeviceFile::iomap_begin", Layer::mapping},

    {"DioEngine::", Layer::dio},
    {"dio_", Layer::dio},
    {"RangeTable<", Layer::dio},

    {"Issuer::Impl::submit_bios", Layer::bio},
    {"Issuer::Impl::queue_for", Layer::bio},
    {"InstantQueue<", Layer::bio},
    {"check_bio", Layer::bio},

    {"DioEngine::bio_end", Layer::settle},
    {"DioEngine::drop_last_reference", Layer::settle},
    {"DioEngine::settle", Layer::settle},
    {"DioEngine::run_stage", Layer::settle},
    {"DioEngine::advance", Layer::settle},
    {"DioEngine::free_", Layer::settle},
    {"DioEngine::result_of", Layer::settle},
    {"DioEngine::end", Layer::settle},
    {"DioEngine::finish", Layer::settle},
    {"route_completion", Layer::settle},
    {"VolumeFile::Impl::end_io", Layer::settle},
    {"VolumeFile::Impl::write_ended", Layer::settle},
    {"VolumeFile::Impl::leave_cache", Layer::settle},
    {"VolumeFile::Impl::write_sync", Layer::settle},
    {"DeviceFile::end_io", Layer::settle},
    {"DeviceFile::write_sync", Layer::settle},
    {"RangeTable<handback::HostConcurrency>::leave", Layer::settle},
    {"RangeTable<handback::HostConcurrency>::deactivate", Layer::settle},
    {"Issuer::Impl::kiocb_complete", Layer::settle},
    {"Issuer::Impl::accept_final", Layer::settle},

    {"Issuer::poll", Layer::deliver},
    {"Issuer::Impl::poll", Layer::deliver},
    {"Issuer::Impl::settle_ready", Layer::deliver},
    {"Issuer::Impl::take_foreign", Layer::deliver},
    {"Issuer::Impl::run_", Layer::deliver},
    {"Issuer::Impl::ExecutorScope::", Layer::deliver},
    {"Issuer::Impl::deliver", Layer::deliver},
};

// Asked of every object, by whoever handles it.
constexpr std::string_view geometry = "::geometry() const";

std::string without_namespaces(std::string_view function) {
  std::string name(function);
  for (const std::string_view part : {"non-virtual thunk to ", "(anonymous namespace)::"}) {
    for (std::size_t at = name.find(part); at != std::string::npos; at = name.find(part))
      name.erase(at, part.size());
  }
  constexpr std::string_view ours = "handback::";
  if (name.starts_with(ours)) name.erase(0, ours.size());
  return name;
}

// Enough for an exact figure: what one request executes is the same for each, but for what a queue
// or a table grows by.
std::uint64_t counted_rounds(unsigned depth) {
  return std::max(1U, 16 / depth);
}

// A child makes a stack of its own.
void count(const LoadOptions& options, const Functions& functions, LayersAtDepth* row,
           std::string* unavailable) {
  const std::uint64_t rounds = counted_rounds(row->depth);
  Stepped stepped = step_through(
      functions,
      [&](Mark mark) {
        LayerStack stack(options.file_bytes);
        const auto load = stack.make_load(row->path, row->depth);
        load->run(std::max(8U, 1024 / row->depth));
        mark();
        load->run(rounds);
        mark();
      },
      [](const std::string& function) { return !layer_of(function).has_value(); });
  if (!stepped.unavailable.empty()) {
    *unavailable = stepped.unavailable;
    return;
  }
  row->counts = std::move(stepped.counts);
  row->counted_requests = rounds * row->depth;
}

void time_once(LayerStack& stack, const OverwriteLoad& how_long, const ProcessorCounters& counters,
               LayersAtDepth* row) {
  const auto load = stack.make_load(row->path, row->depth);
  const std::uint64_t rounds = std::max(1U, 4096 / row->depth);
  // The clock is asked once in 4096 requests: it costs as much as a layer.
  const auto run_for = [&](std::uint64_t time_ns, std::uint64_t* requests) {
    const std::uint64_t started_ns = monotonic_ns();
    std::uint64_t now_ns = started_ns;
    do {
      load->run(rounds);
      *requests += rounds * row->depth;
      now_ns = monotonic_ns();
    } while (now_ns - started_ns < time_ns && interrupted_by() == 0);
    return now_ns - started_ns;
  };
  std::uint64_t warm_up = 0;
  run_for(how_long.warm_up_ns / 4, &warm_up);
  const bool counting = counters.unavailable().empty();
  const auto before = counting ? counters.now() : ProcessorCounters::Values{};
  std::uint64_t requests = 0;
  const std::uint64_t elapsed_ns = run_for(how_long.measured_ns, &requests);
  row->ns.push_back(static_cast<double>(elapsed_ns) / static_cast<double>(requests));
  if (counting) {
    row->cycles.push_back(static_cast<double>(counters.now().cycles - before.cycles) /
                          static_cast<double>(requests));
  }
  stop_bench_if_interrupted();
}

}  // namespace

const LayerInfo& info_of(Layer layer) noexcept {
  return infos[static_cast<std::size_t>(layer)];
}

std::optional<Layer> layer_of(std::string_view function) {
  const std::string name = without_namespaces(function);
  if (name.ends_with(geometry)) return std::nullopt;
  const Entry* best = nullptr;
  for (const Entry& entry : entries) {
    if (!name.starts_with(entry.begin)) continue;
    if (best == nullptr || entry.begin.size() > best->begin.size()) best = &entry;
  }
  return best != nullptr ? std::optional(best->layer) : std::nullopt;
}

double LayersAtDepth::instructions(Layer layer) const {
  std::uint64_t sum = 0;
  for (const auto& [function, instructions] : counts->by_function) {
    // What ran before any function that is known can only be the load's.
    if (layer_of(function).value_or(Layer::load) == layer) sum += instructions;
  }
  return static_cast<double>(sum) / static_cast<double>(counted_requests);
}

double LayersAtDepth::instructions() const {
  return static_cast<double>(counts->instructions) / static_cast<double>(counted_requests) -
         instructions(Layer::load);
}

double LayersAtDepth::system_calls() const {
  return static_cast<double>(counts->system_calls) / static_cast<double>(counted_requests);
}

double LayersAtDepth::allocations() const {
  return static_cast<double>(counts->allocations) / static_cast<double>(counted_requests);
}

const LayersAtDepth& LayersResult::at(LayerPath path, unsigned depth) const {
  return *std::find_if(rows.begin(), rows.end(), [&](const LayersAtDepth& row) {
    return row.path == path && row.depth == depth;
  });
}

LayersResult measure_layers(const LoadOptions& options) {
  LayersResult result{
      .options = options, .load_average = 0, .no_cycles = "", .no_counts = "", .rows = {}};
  if (getloadavg(&result.load_average, 1) != 1) result.load_average = 0;
  const std::size_t paths = std::size(layer_paths);
  const std::uint64_t steps = options.depths.size() * paths * (1 + options.repeats);
  std::uint64_t steps_done = 0;
  Progress progress("layers", Progress::Unit::runs);
  const Functions functions;
  for (const unsigned depth : options.depths) {
    for (const LayerPath path : layer_paths) {
      LayersAtDepth& row = result.rows.emplace_back();
      row.path = path;
      row.depth = depth;
      // Before this process has a stack: the child makes its own.
      if (result.no_counts.empty()) count(options, functions, &row, &result.no_counts);
      progress.update(++steps_done, steps);
    }
  }
  LayerStack stack(options.file_bytes);
  const ProcessorCounters counters;
  result.no_cycles = counters.unavailable();
  for (std::size_t i = 0; i < options.depths.size(); ++i) {
    for (unsigned repeat = 0; repeat < options.repeats; ++repeat) {
      // Each path is first and last in turn: what slowly changes touches all alike.
      for (std::size_t turn = 0; turn < paths; ++turn) {
        time_once(stack, options.load(options.depths[i], repeat), counters,
                  &result.rows[i * paths + (turn + repeat) % paths]);
        progress.update(++steps_done, steps);
      }
    }
  }
  return result;
}

}  // namespace tool
