#include <handback/iomap.h>
#include <handback/issuer.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "handback/bench/bench_files.h"
#include "handback/bench/device_load.h"

namespace tool {
namespace {

struct DeviceRun {
  handback::Issuer& issuer;
  handback::File& file;
  bool write;
  DeviceOffsets offsets;
  MeasuredWindow window;
  handback::IoResult first_error = handback::IoResult::success(0);
};

struct DeviceSlot : handback::Aiocb {
  DeviceRun* run = nullptr;
  std::span<std::byte> buffer;
  std::uint64_t started_ns = 0;
};

void device_slot_delivered(handback::Aiocb& aiocb) noexcept;

void device_slot_start(DeviceSlot& slot, std::uint64_t now_ns) noexcept {
  DeviceRun& run = *slot.run;
  slot.started_ns = now_ns;
  if (run.write) {
    slot.prepare_write(run.file, run.offsets.next(), slot.buffer, handback::KiocbFlags::none,
                       device_slot_delivered);
  } else {
    slot.prepare_read(run.file, run.offsets.next(), slot.buffer, device_slot_delivered);
  }
  run.issuer.submit(slot);
}

void device_slot_delivered(handback::Aiocb& aiocb) noexcept {
  DeviceSlot& slot = static_cast<DeviceSlot&>(aiocb);
  DeviceRun& run = *slot.run;
  const std::uint64_t now_ns = monotonic_ns();
  if (!slot.result.ok() && run.first_error.ok()) run.first_error = slot.result;
  run.window.add_end(slot.started_ns, now_ns);
  if (!run.window.closed() && run.first_error.ok() && interrupted_by() == 0)
    device_slot_start(slot, now_ns);
}

}  // namespace

RunResult run_handback(const std::string& path, handback::HostEngine engine,
                       const DeviceLoad& load) {
  handback::HostDeviceOptions options;
  options.engine = engine;
  options.queue_depth = std::max(options.queue_depth, load.depth);
  if (!load.busy) options.busy_wait_us_max = 0;
  options.notice = [](std::string_view text) { print_error(text); };
  const auto device = value_of(handback::open_host_device(path, options), path);
  const auto file = handback::make_device_file(*device);
  const auto issuer = value_of(handback::Issuer::create(), "bench");
  value_of(issuer->attach(*device), path);
  const std::size_t bytes = request_bytes(load.access);
  handback::AlignedBuffer memory(load.depth * bytes);
  std::memset(memory.data(), 0x5a, memory.size());
  issuer->register_buffer(memory.span());
  DeviceRun run{.issuer = *issuer,
                .file = *file,
                .write = is_write(load.access),
                .offsets = DeviceOffsets(load),
                .window = MeasuredWindow(monotonic_ns() + load.warm_up_ns, load.measured_ns)};
  const auto slots = std::make_unique<DeviceSlot[]>(load.depth);
  for (unsigned i = 0; i < load.depth; ++i) {
    slots[i].run = &run;
    slots[i].buffer = memory.span().subspan(i * bytes, bytes);
    device_slot_start(slots[i], monotonic_ns());
  }
  while (issuer->in_flight() != 0)
    issuer->wait();
  issuer->unregister_buffer(memory.span());
  if (!run.first_error.ok()) throw failure_of(run.first_error, "bench: a request to the device");
  stop_bench_if_interrupted();
  return run.window.result();
}

}  // namespace tool
