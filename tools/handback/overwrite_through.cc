#include <cstring>
#include <memory>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/overwrite_load.h"

namespace tool {
namespace {

struct Run {
  handback::Issuer& issuer;
  handback::File& file;
  OffsetSource offsets;
  LatencyHistogram latencies;
  std::uint64_t counted_from_ns = 0;
  std::uint64_t until_ns = 0;
  handback::IoResult first_error = handback::IoResult::success(0);
};

struct Slot : handback::Aiocb {
  Run* run = nullptr;
  std::span<std::byte> buffer;
  std::uint64_t started_ns = 0;
};

void slot_delivered(handback::Aiocb& aiocb) noexcept;

void slot_start(Slot& slot, std::uint64_t now_ns) noexcept {
  slot.started_ns = now_ns;
  slot.prepare_write(slot.run->file, slot.run->offsets.next(), slot.buffer,
                     handback::KiocbFlags::none, slot_delivered);
  slot.run->issuer.submit(slot);
}

void slot_delivered(handback::Aiocb& aiocb) noexcept {
  Slot& slot = static_cast<Slot&>(aiocb);
  Run& run = *slot.run;
  const std::uint64_t now_ns = monotonic_ns();
  if (!slot.result.ok() && run.first_error.ok()) run.first_error = slot.result;
  if (now_ns >= run.counted_from_ns && now_ns < run.until_ns) {
    run.latencies.add(now_ns - slot.started_ns);
  }
  if (now_ns < run.until_ns && run.first_error.ok() && interrupted_by() == 0) {
    slot_start(slot, now_ns);
  }
}

}  // namespace

OverwriteResult overwrite_through(handback::Issuer& issuer, handback::File& file,
                                  const OverwriteLoad& load) {
  handback::AlignedBuffer memory(std::size_t{load.depth} * overwrite_bytes);
  std::memset(memory.data(), 0x5a, memory.size());
  issuer.register_buffer(memory.span());
  Run run{.issuer = issuer,
          .file = file,
          .offsets = OffsetSource(load.seed, load.file_bytes),
          .latencies = {}};
  run.counted_from_ns = monotonic_ns() + load.warm_up_ns;
  run.until_ns = run.counted_from_ns + load.measured_ns;
  const auto slots = std::make_unique<Slot[]>(load.depth);
  for (unsigned i = 0; i < load.depth; ++i) {
    slots[i].run = &run;
    slots[i].buffer = memory.span().subspan(std::size_t{i} * overwrite_bytes, overwrite_bytes);
    slot_start(slots[i], monotonic_ns());
  }
  while (issuer.in_flight() != 0)
    issuer.wait();
  issuer.unregister_buffer(memory.span());
  if (!run.first_error.ok()) throw failure_of(run.first_error, "overwrite through the volume");
  return {.requests = run.latencies.count(),
          .elapsed_ns = load.measured_ns,
          .p50_ns = run.latencies.quantile_ns(0.5),
          .p99_ns = run.latencies.quantile_ns(0.99)};
}

}  // namespace tool
