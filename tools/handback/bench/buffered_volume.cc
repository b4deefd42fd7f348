#include "handback/bench/buffered_volume.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "common/failure.h"

namespace tool {
namespace {

using handback::Aiocb;

void require(const handback::IoResult& result) {
  if (!result.ok()) throw failure_of(result, "bench: a read or write");
}

void prepare_read(Aiocb& aiocb, handback::File& file, std::uint64_t offset, std::span<std::byte> to,
                  Through through, Aiocb::Callback callback = nullptr) {
  if (through == Through::cache) {
    aiocb.prepare_buffered_read(file, offset, to, handback::KiocbFlags::none, callback);
  } else {
    aiocb.prepare_read(file, offset, to, callback);
  }
}

// --- at a depth ---

struct Run {
  handback::Issuer& issuer;
  handback::File& file;
  const ReadOrder& order;
  Through through;
  MeasuredWindow window;
  std::uint64_t next = 0;
  handback::IoResult first_error = handback::IoResult::success(0);
};

struct Slot : Aiocb {
  Run* run = nullptr;
  std::span<std::byte> buffer;
  std::uint64_t started_ns = 0;
};

void slot_delivered(Aiocb& aiocb) noexcept;

void slot_start(Slot& slot, std::uint64_t now_ns) noexcept {
  Run& run = *slot.run;
  slot.started_ns = now_ns;
  prepare_read(slot, run.file, run.order.offset(run.next++), slot.buffer, run.through,
               slot_delivered);
  run.issuer.submit(slot);
}

void slot_delivered(Aiocb& aiocb) noexcept {
  Slot& slot = static_cast<Slot&>(aiocb);
  Run& run = *slot.run;
  const std::uint64_t now_ns = monotonic_ns();
  if (!slot.result.ok() && run.first_error.ok()) run.first_error = slot.result;
  run.window.add_end(slot.started_ns, now_ns);
  if (!run.window.closed() && run.first_error.ok() && interrupted_by() == 0) {
    slot_start(slot, now_ns);
  }
}

// --- by threads ---

struct Pool {
  handback::File& file;
  const ReadOrder& order;
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> counts{false};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  LatencyHistogram latencies;  // Guarded by the mutex, as is the rest.
  std::string failure;
};

void read_until_stopped(Pool& pool) {
  LatencyHistogram latencies;
  std::string failure;
  const auto issuer = handback::Issuer::create();
  if (!issuer) failure = issuer.error().message();
  handback::AlignedBuffer memory(buffered_read_bytes);
  Aiocb aiocb;
  while (failure.empty() && !pool.stop.load(std::memory_order_relaxed)) {
    const std::uint64_t started_ns = monotonic_ns();
    const std::uint64_t n = pool.next.fetch_add(1, std::memory_order_relaxed);
    prepare_read(aiocb, pool.file, pool.order.offset(n), memory.span(), Through::cache);
    const handback::IoResult result = (*issuer)->run(aiocb);
    if (!result.ok()) failure = handback::describe(result);
    if (pool.counts.load(std::memory_order_relaxed)) latencies.add(monotonic_ns() - started_ns);
  }
  const std::lock_guard lock(pool.mutex);
  pool.latencies.add_all(latencies);
  if (pool.failure.empty()) pool.failure = std::move(failure);
}

}  // namespace

void read_into_cache(handback::Issuer& issuer, handback::File& file, std::uint64_t bytes) {
  handback::AlignedBuffer memory(buffered_chunk_bytes);
  Aiocb aiocb;
  for (std::uint64_t offset = 0; offset < bytes; offset += memory.size()) {
    prepare_read(aiocb, file, offset, memory.span(), Through::cache);
    require(issuer.run(aiocb));
  }
}

RunResult read_hits(handback::Issuer& issuer, handback::File& file, const ReadOrder& order,
                    const RunTimes& times, SingleRead how) {
  handback::AlignedBuffer memory(buffered_read_bytes);
  std::memset(memory.data(), 0, memory.size());
  Aiocb aiocb;
  bool ok = true;
  const auto run = [&](std::uint64_t offset) {
    prepare_read(aiocb, file, offset, memory.span(), Through::cache);
    ok &= issuer.run(aiocb).ok();
  };
  const auto submit_and_poll = [&](std::uint64_t offset) {
    prepare_read(aiocb, file, offset, memory.span(), Through::cache);
    issuer.submit(aiocb);
    while (issuer.poll() == 0) {
    }
    ok &= aiocb.result.ok();
  };
  const RunResult result = how == SingleRead::run
                               ? time_single_reads(order, times, run)
                               : time_single_reads(order, times, submit_and_poll);
  if (!ok)
    require(aiocb.result.ok() ? handback::IoResult::failure(handback::Errc::io) : aiocb.result);
  return result;
}

RunResult read_at_depth(handback::Issuer& issuer, handback::File& file, const RandomReads& load,
                        Through through) {
  handback::AlignedBuffer memory(std::size_t{load.depth} * buffered_read_bytes);
  std::memset(memory.data(), 0, memory.size());
  if (through == Through::direct_registered) issuer.register_buffer(memory.span());
  Run run{.issuer = issuer,
          .file = file,
          .order = load.order,
          .through = through,
          .window = MeasuredWindow(monotonic_ns() + load.times.warm_up_ns, load.times.measured_ns)};
  const auto slots = std::make_unique<Slot[]>(load.depth);
  for (unsigned i = 0; i < load.depth; ++i) {
    slots[i].run = &run;
    slots[i].buffer =
        memory.span().subspan(std::size_t{i} * buffered_read_bytes, buffered_read_bytes);
    slot_start(slots[i], monotonic_ns());
  }
  while (issuer.in_flight() != 0)
    issuer.wait();
  if (through == Through::direct_registered) issuer.unregister_buffer(memory.span());
  require(run.first_error);
  stop_bench_if_interrupted();
  return run.window.result();
}

RunResult read_by_threads(handback::File& file, const RandomReads& load) {
  Pool pool{.file = file, .order = load.order, .mutex = {}, .latencies = {}, .failure = {}};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < load.depth; ++i)
    threads.emplace_back([&pool] { read_until_stopped(pool); });
  const auto sleep_until_ns = [](std::uint64_t until_ns) {
    for (;;) {
      const std::uint64_t now_ns = monotonic_ns();
      if (now_ns >= until_ns || interrupted_by() != 0) return;
      std::this_thread::sleep_for(std::chrono::nanoseconds(until_ns - now_ns));
    }
  };
  sleep_until_ns(monotonic_ns() + load.times.warm_up_ns);
  const ProcessCost before = ProcessCost::now();
  const std::uint64_t opened_ns = monotonic_ns();
  pool.counts.store(true, std::memory_order_relaxed);
  sleep_until_ns(opened_ns + load.times.measured_ns);
  pool.counts.store(false, std::memory_order_relaxed);
  const std::uint64_t closed_ns = monotonic_ns();
  const ProcessCost after = ProcessCost::now();
  pool.stop.store(true, std::memory_order_relaxed);
  for (std::thread& thread : threads)
    thread.join();
  if (!pool.failure.empty()) throw Failure(exit_failed, "bench: a read: " + pool.failure);
  stop_bench_if_interrupted();
  if (pool.latencies.count() == 0) {
    throw Failure(exit_failed, "bench: no thread read anything in time; give more --seconds");
  }
  return result_of(pool.latencies, 1, closed_ns - opened_ns, before, after);
}

RunResult read_in_order(handback::Issuer& issuer, handback::File& file, const InOrder& load,
                        Through through) {
  handback::AlignedBuffer memory(load.bytes);
  std::memset(memory.data(), 0, memory.size());
  Aiocb aiocb;
  return time_in_order(load, [&](std::uint64_t offset) {
    prepare_read(aiocb, file, offset, memory.span(), through);
    require(issuer.run(aiocb));
  });
}

RunResult write_in_order(handback::Issuer& issuer, handback::VolumeFile& file, const InOrder& load,
                         Through through) {
  handback::AlignedBuffer memory(load.bytes);
  std::memset(memory.data(), 0x5a, memory.size());
  Aiocb aiocb;
  const RunResult result = time_in_order(load, [&](std::uint64_t offset) {
    if (through == Through::cache) {
      aiocb.prepare_buffered_write(file, offset, memory.span());
    } else {
      aiocb.prepare_write(file, offset, memory.span());
    }
    require(issuer.run(aiocb));
    if ((offset + load.bytes) % bytes_per_fsync == 0) value_of(file.fsync(issuer), "fsync");
  });
  value_of(file.fsync(issuer), "fsync");
  return result;
}

}  // namespace tool
