// Durable operations of a volume.
#include <handback/issuer.h>
#include <handback/memory_device.h>
#include <handback/volume.h>
#include <cstring>
#include <functional>

#include <fmt/format.h>

#include "common/failure.h"
#include "handback/bench/device_counts.h"
#include "handback/bench/durable_operations.h"

namespace tool {
namespace {

class VolumeOperations {
 public:
  explicit VolumeOperations(const handback::MemoryDeviceOptions& options)
      : device_(handback::make_memory_device(options)),
        issuer_(value_of(handback::Issuer::create(), "issuer")) {
    value_of(handback::Volume::format(*issuer_, device_), "memory");
    // No commit of its own between the counted ones.
    volume_ = value_of(handback::Volume::open(*issuer_, device_, {.commit_interval_ms = 3'600'000}),
                       "memory");
    std::memset(data_.data(), 0x5a, data_.size());
    file_ = open("/file", true);
    for (unsigned i = 0; i < durable_rounds; ++i)
      write(*file_, i * durable_write_bytes, handback::KiocbFlags::dsync);
    value_of(volume_->sync(*issuer_), "sync");
    // What is unconfirmed is confirmed by the next record.
    value_of(volume_->mkdir("/folder"), "/folder");
    value_of(volume_->sync(*issuer_), "sync");
  }
  ~VolumeOperations() {
    file_.reset();
    volume_.reset();
    issuer_->detach(device_);
  }
  VolumeOperations(const VolumeOperations&) = delete;
  VolumeOperations& operator=(const VolumeOperations&) = delete;

  OperationCost cost(DurableOperation operation) {
    OperationCost sum;
    for (unsigned i = 0; i < durable_rounds; ++i) {
      prepare(operation, i);
      const DeviceCounts before = device_.counts();
      carry_out(operation, i);
      const DeviceCounts after = device_.counts();
      sum.writes += static_cast<double>(after.writes - before.writes) / durable_rounds;
      sum.fua_writes += static_cast<double>(after.fua_writes - before.fua_writes) / durable_rounds;
      sum.flushes += static_cast<double>(after.flushes - before.flushes) / durable_rounds;
    }
    return sum;
  }

 private:
  std::unique_ptr<handback::VolumeFile> open(const std::string& path, bool create) {
    return value_of(volume_->open_file(*issuer_, path, {.create = create}), path);
  }

  void write(handback::File& file, std::uint64_t offset, handback::KiocbFlags flags) {
    handback::Aiocb aiocb;
    aiocb.prepare_write(file, offset, data_.span(), flags);
    const handback::IoResult result = issuer_->run(aiocb);
    if (!result.ok()) throw failure_of(result, "a write");
  }

  void make_file(const std::string& path) {
    const auto file = open(path, true);
    write(*file, 0, handback::KiocbFlags::none);
    value_of(file->fsync(*issuer_), path);
  }

  void sync_root() { value_of(volume_->sync_directory(*issuer_, "/"), "/"); }

  // Everything that is there before the operation is durable.
  void prepare(DurableOperation operation, unsigned i) {
    if (operation == DurableOperation::rename || operation == DurableOperation::truncate ||
        operation == DurableOperation::link) {
      make_file(fmt::format("/{}.{}", static_cast<int>(operation), i));
    }
    if (operation == DurableOperation::replace && i == 0) make_file("/replaced");
    value_of(volume_->sync(*issuer_), "sync");
  }

  void carry_out(DurableOperation operation, unsigned i) {
    const std::string path = fmt::format("/{}.{}", static_cast<int>(operation), i);
    switch (operation) {
      case DurableOperation::overwrite:
        write(*file_, i * durable_write_bytes, handback::KiocbFlags::dsync);
        return;
      case DurableOperation::append:
        write(*file_, 0, handback::KiocbFlags::append | handback::KiocbFlags::dsync);
        return;
      case DurableOperation::create:
        make_file(path);
        return;
      case DurableOperation::replace:
        make_file(path);
        value_of(volume_->rename(path, "/replaced"), path);
        sync_root();
        return;
      case DurableOperation::rename:
        value_of(volume_->rename(path, path + ".new"), path);
        sync_root();
        return;
      case DurableOperation::truncate: {
        const auto file = open(path, false);
        value_of(file->truncate(*issuer_, 0), path);
        value_of(file->fsync(*issuer_), path);
        return;
      }
      case DurableOperation::link:
        value_of(volume_->link(path, path + ".link"), path);
        sync_root();
        return;
    }
  }

  CountingDevice device_;
  std::unique_ptr<handback::Issuer> issuer_;
  std::unique_ptr<handback::Volume> volume_;
  std::unique_ptr<handback::VolumeFile> file_;
  handback::AlignedBuffer data_{durable_write_bytes};
};

}  // namespace

std::vector<DurableColumn> measure_volume_operations() {
  struct Kind {
    const char* name;
    bool volatile_cache;
    bool fua;
  };
  constexpr Kind kinds[] = {
      {"write-through", false, false}, {"FUA", true, true}, {"flush only", true, false}};
  std::vector<DurableColumn> columns;
  for (const Kind& kind : kinds) {
    VolumeOperations operations(
        {.size_bytes = 64U << 20, .volatile_cache = kind.volatile_cache, .fua = kind.fua});
    DurableColumn column{.target = "handback", .device = kind.name, .costs = {}};
    for (std::size_t i = 0; i < durable_operations.size(); ++i)
      column.costs[i] = operations.cost(durable_operations[i]);
    columns.push_back(std::move(column));
  }
  return columns;
}

}  // namespace tool
