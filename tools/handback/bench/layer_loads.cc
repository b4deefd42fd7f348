#include "handback/bench/layer_loads.h"

#include <handback/bio.h>
#include <handback/iomap.h>
#include <vector>

#include "common/failure.h"
#include "handback/bench/bench_volume.h"
#include "handback/bench/overwrite_load.h"

namespace tool {
namespace {

constexpr std::uint32_t request_bytes = overwrite_bytes;

class FileLoad final : public LayerLoad {
 public:
  FileLoad(handback::Issuer& issuer, handback::File& file, bool write, unsigned depth,
           std::uint64_t file_bytes)
      : issuer_(issuer),
        file_(file),
        write_(write),
        offsets_(1, file_bytes),
        memory_(std::size_t{depth} * request_bytes),
        slots_(std::make_unique<Slot[]>(depth)),
        depth_(depth) {
    for (unsigned i = 0; i < depth; ++i) {
      slots_[i].load = this;
      slots_[i].buffer = memory_.span().subspan(std::size_t{i} * request_bytes, request_bytes);
      start(slots_[i]);
    }
  }
  ~FileLoad() override {
    ending_ = true;
    while (issuer_.in_flight() != 0)
      issuer_.wait();
  }

 private:
  struct Slot : handback::Aiocb {
    FileLoad* load = nullptr;
    std::span<std::byte> buffer;
  };

  void start(Slot& slot) noexcept {
    if (write_) {
      slot.prepare_write(file_, offsets_.next(), slot.buffer, handback::KiocbFlags::none,
                         delivered);
    } else {
      slot.prepare_read(file_, offsets_.next(), slot.buffer, delivered);
    }
    issuer_.submit(slot);
  }

  static void delivered(handback::Aiocb& aiocb) noexcept {
    Slot& slot = static_cast<Slot&>(aiocb);
    FileLoad& load = *slot.load;
    if (!slot.result.ok()) load.failed_ = true;
    if (!load.ending_) load.start(slot);
  }

  void run_rounds(std::uint64_t rounds) noexcept override {
    for (std::uint64_t i = 0; i < rounds; ++i) {
      if (issuer_.poll() != depth_) failed_ = true;
    }
  }

  handback::Issuer& issuer_;
  handback::File& file_;
  bool write_;
  bool ending_ = false;
  OffsetSource offsets_;
  handback::AlignedBuffer memory_;
  std::unique_ptr<Slot[]> slots_;
  unsigned depth_;
};

class QueueLoad final : public LayerLoad {
 public:
  QueueLoad(std::unique_ptr<handback::BlockQueue> queue, unsigned depth, std::uint64_t device_bytes)
      : queue_(std::move(queue)), offsets_(1, device_bytes), memory_(request_bytes), bios_(depth) {
    for (auto& bio : bios_)
      end(*this, bio);
    submit_ended();
  }
  ~QueueLoad() override { queue_->poll(); }

 private:
  static void ended(handback::Bio& bio) noexcept {
    auto& load = *static_cast<QueueLoad*>(bio.private_);
    if (!bio.result.ok()) load.failed_ = true;
    end(load, bio);
  }
  static void end(QueueLoad& load, handback::Bio& bio) noexcept {
    bio.op = handback::BioOp::write;
    bio.segment_count = 0;
    bio.length = 0;
    bio.add_segment(load.memory_.data(), request_bytes);
    bio.addr = load.offsets_.next();
    bio.end_io = ended;
    bio.private_ = &load;
    bio.next = load.ended_;
    load.ended_ = &bio;
  }
  // The end of a bio may not submit.
  void submit_ended() noexcept {
    handback::Bio* const chain = ended_;
    ended_ = nullptr;
    queue_->submit(chain);
  }

  void run_rounds(std::uint64_t rounds) noexcept override {
    for (std::uint64_t i = 0; i < rounds; ++i) {
      if (queue_->poll() != bios_.size()) failed_ = true;
      submit_ended();
    }
  }

  std::unique_ptr<handback::BlockQueue> queue_;
  OffsetSource offsets_;
  handback::AlignedBuffer memory_;
  std::vector<handback::Bio> bios_;
  handback::Bio* ended_ = nullptr;
};

handback::MemoryDeviceOptions device_of(std::uint64_t size_bytes) {
  handback::MemoryDeviceOptions options;
  options.size_bytes = size_bytes;
  return options;
}

}  // namespace

std::string_view to_string(LayerPath path) noexcept {
  switch (path) {
    case LayerPath::file_write:
      return "file write";
    case LayerPath::file_read:
      return "file read";
    case LayerPath::device_write:
      return "device write";
    case LayerPath::device_read:
      return "device read";
    case LayerPath::queue:
      return "queue";
  }
  return "";
}

void LayerLoad::run(std::uint64_t rounds) {
  run_rounds(rounds);
  if (failed_) {
    throw Failure(exit_failed,
                  "bench: a request failed, or did not end when it was polled for, so there is "
                  "nothing to measure");
  }
}

LayerStack::LayerStack(std::uint64_t file_bytes)
    : file_bytes_(file_bytes),
      quiet_(device_of(bench_volume_bytes(file_bytes))),
      null_(handback::make_null_device(device_of(file_bytes))),
      volume_issuer_(value_of(handback::Issuer::create(), "bench")),
      null_issuer_(value_of(handback::Issuer::create(), "bench")) {
  value_of(handback::Volume::format(*volume_issuer_, quiet_, {}), "bench");
  volume_ = value_of(handback::Volume::open(*volume_issuer_, quiet_), "bench");
  file_ = make_written_file(*volume_, *volume_issuer_, file_bytes);
  device_file_ = handback::make_device_file(*null_);
  quiet_.be_quiet();
}

LayerStack::~LayerStack() {
  file_.reset();
  // Nobody reads it again.
  const auto ignored = volume_->close(*volume_issuer_);
  static_cast<void>(ignored);
}

std::unique_ptr<LayerLoad> LayerStack::make_load(LayerPath path, unsigned depth) {
  switch (path) {
    case LayerPath::file_write:
    case LayerPath::file_read:
      return std::make_unique<FileLoad>(*volume_issuer_, *file_, path == LayerPath::file_write,
                                        depth, file_bytes_);
    case LayerPath::device_write:
    case LayerPath::device_read:
      return std::make_unique<FileLoad>(*null_issuer_, *device_file_,
                                        path == LayerPath::device_write, depth, file_bytes_);
    case LayerPath::queue:
      break;
  }
  return std::make_unique<QueueLoad>(value_of(null_->open_queue(-1), "bench"), depth, file_bytes_);
}

}  // namespace tool
