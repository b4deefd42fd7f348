#include <cstring>
#include <memory>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/bench/bench_files.h"
#include "handback/bench/overwrite_load.h"

namespace tool {
namespace {

struct Run {
  handback::Issuer& issuer;
  handback::File& file;
  bool dio_defer;
  OffsetSource offsets;
  MeasuredWindow window;
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
  if (!slot.run->dio_defer) slot.ki_flags &= ~handback::KiocbFlags::dio_defer;
  slot.run->issuer.submit(slot);
}

void slot_delivered(handback::Aiocb& aiocb) noexcept {
  Slot& slot = static_cast<Slot&>(aiocb);
  Run& run = *slot.run;
  const std::uint64_t now_ns = monotonic_ns();
  if (!slot.result.ok() && run.first_error.ok()) run.first_error = slot.result;
  run.window.add_end(slot.started_ns, now_ns);
  if (!run.window.closed() && run.first_error.ok() && interrupted_by() == 0) {
    slot_start(slot, now_ns);
  }
}

}  // namespace

RunResult overwrite_through(handback::Issuer& issuer, handback::File& file,
                            const OverwriteLoad& load) {
  handback::AlignedBuffer memory(std::size_t{load.depth} * overwrite_bytes);
  std::memset(memory.data(), 0x5a, memory.size());
  issuer.register_buffer(memory.span());
  Run run{.issuer = issuer,
          .file = file,
          .dio_defer = load.dio_defer,
          .offsets = OffsetSource(load.seed, load.file_bytes),
          .window = MeasuredWindow(monotonic_ns() + load.warm_up_ns, load.measured_ns)};
  const auto slots = std::make_unique<Slot[]>(load.depth);
  for (unsigned i = 0; i < load.depth; ++i) {
    slots[i].run = &run;
    slots[i].buffer = memory.span().subspan(std::size_t{i} * overwrite_bytes, overwrite_bytes);
    slot_start(slots[i], monotonic_ns());
  }
  while (issuer.in_flight() != 0)
    issuer.wait();
  issuer.unregister_buffer(memory.span());
  if (!run.first_error.ok()) throw failure_of(run.first_error, "bench: an overwrite");
  stop_bench_if_interrupted();
  return run.window.result();
}

}  // namespace tool
