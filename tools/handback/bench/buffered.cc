#include "handback/bench/buffered.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "common/text.h"
#include "handback/bench/buffered_plain.h"
#include "handback/bench/buffered_volume.h"

namespace tool {

ReadOrder::ReadOrder(std::uint64_t file_bytes, std::uint64_t seed)
    : blocks_(file_bytes / buffered_read_bytes) {
  std::iota(blocks_.begin(), blocks_.end(), 0U);
  OffsetSource random(seed, std::uint64_t{1} << 40);
  for (std::size_t i = blocks_.size(); i > 1; --i)
    std::swap(blocks_[i - 1], blocks_[random.next() / overwrite_bytes % i]);
}

std::vector<double> BufferedRow::bytes_per_second() const {
  std::vector<double> values;
  for (const RunResult& run : runs)
    values.push_back(run.iops() * bytes);
  return values;
}

std::vector<BufferedRatio> buffered_ratios(const BufferedResult& result) {
  std::vector<BufferedRatio> ratios;
  for (const BufferedRow& ours : result.rows) {
    for (const BufferedRow& over : result.rows) {
      if (!ours.ours || over.ours || over.load != ours.load || over.depth != ours.depth) continue;
      ratios.push_back(
          {&ours, &over, pair_ratios(ours.bytes_per_second(), over.bytes_per_second())});
    }
  }
  return ratios;
}

namespace {

struct Way {
  std::string name;
  bool ours;
  std::uint32_t bytes;
  std::function<RunResult()> run;
};

class Bench {
 public:
  Bench(const BufferedOptions& options, handback::HostEngine engine)
      : options_(options),
        times_{.warm_up_ns = static_cast<std::uint64_t>(std::min(options.load.seconds, 0.1) * 1e9),
               .measured_ns = static_cast<std::uint64_t>(options.load.seconds * 1e9)},
        target_({.device = options.device,
                 .file_bytes = options.load.file_bytes,
                 .overwrite_device = options.overwrite_device,
                 .engine = engine}) {
    if (!options.against.empty()) plain_.emplace(options.against, options.load.file_bytes);
  }

  BufferedResult measure() {
    const std::uint64_t file_bytes = options_.load.file_bytes;
    const std::uint64_t megabyte = 1U << 20;
    result_ = {.options = options_,
               .kind = target_.kind(),
               .description = target_.description(),
               .miss_cache_bytes = std::max(file_bytes / 64, megabyte),
               .order_cache_bytes = std::max(file_bytes / 16, megabyte)};
    double load_average = 0;
    if (getloadavg(&load_average, 1) == 1) result_.load_average = load_average;
    const auto chosen = [this](const char* load) {
      return std::find(options_.loads.begin(), options_.loads.end(), load) != options_.loads.end();
    };
    const std::uint64_t depths = options_.load.depths.size();
    const std::uint64_t host = plain_ ? 1 : 0;
    runs_ = options_.load.repeats *
            ((chosen("hits") ? 2 * (3 + host) : 0) + (chosen("misses") ? depths * (4 + host) : 0) +
             (chosen("order") ? 5 + 2 * host : 0));
    // What lies in the CPU's own caches as well, and what does not: a copy costs twice as much
    // there.
    if (chosen("hits")) {
      measure_hits(megabyte);
      measure_hits(16 * megabyte);
    }
    if (chosen("misses")) measure_misses();
    if (chosen("order")) measure_in_order();
    return std::move(result_);
  }

 private:
  // The ways take turns within each repeat, in an order that rotates, so that none always runs
  // after the same other.
  void take_turns(const std::string& load, unsigned depth, const std::vector<Way>& ways) {
    const std::size_t first_row = result_.rows.size();
    for (const Way& way : ways) {
      result_.rows.push_back({.load = load,
                              .target = way.name,
                              .depth = depth,
                              .bytes = way.bytes,
                              .ours = way.ours,
                              .runs = {}});
    }
    for (unsigned repeat = 0; repeat < options_.load.repeats; ++repeat) {
      for (std::size_t turn = 0; turn < ways.size(); ++turn) {
        const std::size_t i = (turn + repeat) % ways.size();
        result_.rows[first_row + i].runs.push_back(ways[i].run());
        progress_.update(++runs_done_, runs_);
      }
    }
  }

  void measure_hits(std::uint64_t bytes) {
    target_.reopen({.page_cache_bytes_max = 2 * bytes + (std::uint64_t{16} << 20)});
    const ReadOrder order(bytes, 1);
    read_into_cache(target_.issuer(), target_.file(), bytes);
    const auto hits = [&](SingleRead how) {
      return [this, &order, how] {
        return read_hits(target_.issuer(), target_.file(), order, times_, how);
      };
    };
    std::vector<Way> ways{
        {"buffered, submit and poll", true, buffered_read_bytes, hits(SingleRead::submit_and_poll)},
        {"buffered, run", true, buffered_read_bytes, hits(SingleRead::run)},
        {"memcpy", false, buffered_read_bytes, [&] { return copy_memory(bytes, order, times_); }}};
    if (plain_) {
      ways.push_back({plain_->file_system() + ", pread", false, buffered_read_bytes,
                      [&] { return plain_->read_hits(bytes, order, times_); }});
    }
    take_turns("hits, " + human_size(bytes), 1, ways);
  }

  void measure_misses() {
    target_.reopen({.page_cache_bytes_max = result_.miss_cache_bytes});
    const ReadOrder order(options_.load.file_bytes, 2);
    for (const unsigned depth : options_.load.depths) {
      const RandomReads load{.order = order, .depth = depth, .times = times_};
      const auto reads = [&](Through through) {
        return [this, &load, through] {
          return read_at_depth(target_.issuer(), target_.file(), load, through);
        };
      };
      std::vector<Way> ways{
          {"buffered", true, buffered_read_bytes, reads(Through::cache)},
          {"direct", false, buffered_read_bytes, reads(Through::direct)},
          {"direct, registered memory", false, buffered_read_bytes,
           reads(Through::direct_registered)},
          {depth == 1 ? "buffered, a blocking thread"
                      : fmt::format("buffered, {} blocking threads", depth),
           false, buffered_read_bytes, [&] { return read_by_threads(target_.file(), load); }}};
      if (plain_) {
        ways.push_back({plain_->file_system() + ", io_uring", false, buffered_read_bytes,
                        [&] { return plain_->read_at_depth(load); }});
      }
      take_turns("misses", depth, ways);
    }
  }

  void measure_in_order() {
    target_.reopen({.page_cache_bytes_max = result_.order_cache_bytes});
    const InOrder chunks{
        .file_bytes = options_.load.file_bytes / buffered_chunk_bytes * buffered_chunk_bytes,
        .bytes = buffered_chunk_bytes,
        .times = times_};
    InOrder blocks = chunks;
    blocks.bytes = buffered_read_bytes;
    const auto reads = [&](const InOrder& load, Through through) {
      return [this, &load, through] {
        return read_in_order(target_.issuer(), target_.file(), load, through);
      };
    };
    std::vector<Way> ways{
        {"buffered, 4 KiB", true, buffered_read_bytes, reads(blocks, Through::cache)},
        {"buffered, 128 KiB", true, buffered_chunk_bytes, reads(chunks, Through::cache)},
        {"direct, 128 KiB", false, buffered_chunk_bytes, reads(chunks, Through::direct)}};
    if (plain_) {
      ways.push_back({plain_->file_system() + ", pread, 128 KiB", false, buffered_chunk_bytes,
                      [&] { return plain_->read_in_order(chunks); }});
    }
    take_turns("reads in order", 1, ways);

    const auto writes = [&](Through through) {
      return [this, &chunks, through] {
        return write_in_order(target_.issuer(), target_.volume_file(), chunks, through);
      };
    };
    ways = {{"buffered, 128 KiB", true, buffered_chunk_bytes, writes(Through::cache)},
            {"direct, 128 KiB", false, buffered_chunk_bytes, writes(Through::direct)}};
    if (plain_) {
      ways.push_back({plain_->file_system() + ", pwrite, 128 KiB", false, buffered_chunk_bytes,
                      [&] { return plain_->write_in_order(chunks); }});
    }
    take_turns("writes in order", 1, ways);
  }

  const BufferedOptions& options_;
  const RunTimes times_;
  BenchTarget target_;
  std::optional<BufferedPlain> plain_;
  BufferedResult result_;
  Progress progress_{"buffered I/O", Progress::Unit::runs};
  std::uint64_t runs_done_ = 0;
  std::uint64_t runs_ = 0;
};

}  // namespace

BufferedResult measure_buffered(const BufferedOptions& options, handback::HostEngine engine) {
  return Bench(options, engine).measure();
}

}  // namespace tool
