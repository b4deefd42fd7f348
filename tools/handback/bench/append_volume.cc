#include "handback/bench/append_volume.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include <handback/host_device.h>
#include <handback/issuer.h>

#include "common/blank_device.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/text.h"
#include "handback/bench/bench_volume.h"
#include "handback/bench/host_file_system.h"

namespace tool {
namespace {

struct Run {
  handback::Issuer& issuer;
  handback::File& file;
  std::uint64_t requests_left;
  MeasuredWindow window;
  std::uint64_t last_end_ns = 0;
  handback::IoResult first_error = handback::IoResult::success(0);
};

struct Slot : handback::Aiocb {
  Run* run = nullptr;
  std::span<std::byte> buffer;
  std::uint64_t started_ns = 0;
};

void slot_delivered(handback::Aiocb& aiocb) noexcept;

void slot_start(Slot& slot, std::uint64_t now_ns) noexcept {
  Run& run = *slot.run;
  if (run.requests_left == 0) return;
  --run.requests_left;
  slot.started_ns = now_ns;
  slot.prepare_write(run.file, 0, slot.buffer,
                     handback::KiocbFlags::append | handback::KiocbFlags::dsync, slot_delivered);
  run.issuer.submit(slot);
}

void slot_delivered(handback::Aiocb& aiocb) noexcept {
  Slot& slot = static_cast<Slot&>(aiocb);
  Run& run = *slot.run;
  const std::uint64_t now_ns = monotonic_ns();
  if (!slot.result.ok() && run.first_error.ok()) run.first_error = slot.result;
  run.last_end_ns = now_ns;
  run.window.add_end(slot.started_ns, now_ns);
  if (!run.window.closed() && run.first_error.ok() && interrupted_by() == 0) {
    slot_start(slot, now_ns);
  }
}

}  // namespace

RunResult result_of(MeasuredWindow& window, std::uint64_t last_end_ns, const AppendLoad& load) {
  stop_bench_if_interrupted();
  if (!window.close(last_end_ns)) {
    throw Failure(exit_failed,
                  fmt::format("bench: {} were appended before the warm-up was over; give a larger "
                              "--size",
                              human_size(load.bytes_max)));
  }
  return window.result();
}

AppendVolume::AppendVolume(const std::string& path, std::uint64_t bytes_max,
                           const SessionOptions& options)
    : file_path_(fmt::format("/handback-bench-append-{}", getpid())) {
  struct stat status {};
  const bool there = stat(path.c_str(), &status) == 0;
  const bool block_device = there && S_ISBLK(status.st_mode);
  bool blank = !there;
  if (!there) {
    files_.create(path, bench_volume_bytes(2 * bytes_max));
  } else {
    const DeviceSession session(path, options);
    blank = block_device && looks_blank(path, session.device().geometry().size_bytes);
  }
  if (blank) {
    const DeviceSession session(path, options);
    value_of(handback::Volume::format(session.issuer(), session.device()), path);
  }
  session_ = std::make_unique<VolumeSession>(path, options);
  const bool cached = session_->device().geometry().volatile_cache;
  if (block_device) {
    kind_ = cached ? "block-device write back" : "block-device write through";
    place_ = cached ? "a block device, write back" : "a block device, write through";
  } else {
    kind_ = "host-file " + file_system_of(path);
    place_ = "a host file on " + file_system_of(path);
  }
}

AppendVolume::~AppendVolume() = default;

RunResult AppendVolume::append(const AppendLoad& load) {
  handback::Issuer& issuer = session_->issuer();
  handback::Volume& volume = session_->volume();
  auto file = value_of(
      volume.open_file(issuer, file_path_, {.create = true, .exclusive = true, .truncate = false}),
      file_path_);
  handback::AlignedBuffer memory(std::size_t{load.inflight} * append_bytes);
  std::memset(memory.data(), 0x5a, memory.size());
  issuer.register_buffer(memory.span());
  Run run{.issuer = issuer,
          .file = *file,
          .requests_left = load.bytes_max / append_bytes,
          .window = MeasuredWindow(monotonic_ns() + load.warm_up_ns, load.measured_ns)};
  const auto slots = std::make_unique<Slot[]>(load.inflight);
  for (unsigned i = 0; i < load.inflight; ++i) {
    slots[i].run = &run;
    slots[i].buffer = memory.span().subspan(std::size_t{i} * append_bytes, append_bytes);
    slot_start(slots[i], monotonic_ns());
  }
  while (issuer.in_flight() != 0)
    issuer.wait();
  issuer.unregister_buffer(memory.span());
  file.reset();
  value_of(volume.unlink(file_path_), file_path_);
  value_of(volume.sync(issuer), file_path_);
  if (!run.first_error.ok()) throw failure_of(run.first_error, "bench: an append");
  return result_of(run.window, run.last_end_ns, load);
}

}  // namespace tool
