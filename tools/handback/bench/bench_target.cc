#include "handback/bench/bench_target.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <handback/host_device.h>
#include <handback/iomap.h>
#include <handback/memory_device.h>

#include "common/blank_device.h"
#include "common/failure.h"
#include "common/text.h"
#include "handback/bench/bench_volume.h"
#include "handback/bench/host_file_system.h"

namespace tool {
namespace {

constexpr const char* bench_label = "handback bench";

// True if the device holds what an earlier benchmark left. Throws Failure if it holds anything
// else.
bool holds_bench_volume(const std::string& path, handback::Issuer& issuer,
                        handback::BlockDevice& device) {
  if (looks_blank(path, device.geometry().size_bytes)) return false;
  const auto volume = handback::Volume::open(issuer, device, {.read_only = true});
  if (volume && (*volume)->info().label == bench_label) return true;
  throw Failure(exit_failed,
                fmt::format("{}: is not blank and not of an earlier benchmark, so it is left "
                            "alone; name another device, or wipe it first",
                            path));
}

}  // namespace

BenchTarget::BenchTarget(const BenchTargetOptions& options) {
  issuer_ = value_of(handback::Issuer::create(), "bench");
  handback::MemoryDeviceOptions memory;
  if (options.device == "null") {
    kind_ = "null";
    description_ = "the null device, without a volume";
    memory.size_bytes = options.file_bytes;
    device_ = handback::make_null_device(memory);
    device_file_ = handback::make_device_file(*device_);
    file_ = device_file_.get();
  } else if (options.device == "mem") {
    kind_ = "mem";
    description_ = "a volume on the memory device";
    memory.size_bytes = bench_volume_bytes(options.file_bytes);
    device_ = handback::make_memory_device(memory);
    make_volume("mem", options.file_bytes, false);
  } else {
    open_host(options);
  }
}

void BenchTarget::open_host(const BenchTargetOptions& options) {
  const std::string& path = options.device;
  struct stat status {};
  const bool there = stat(path.c_str(), &status) == 0;
  const bool block_device = there && S_ISBLK(status.st_mode);
  if (there && !block_device) {
    throw Failure(exit_failed,
                  path + ": exists; name a file that does not, and it is made and removed here");
  }
  if (block_device && !options.overwrite_device) {
    throw Failure(exit_failed, path +
                                   ": is a block device; --overwrite-device permits writing to "
                                   "it, if it is blank");
  }
  if (!block_device && options.overwrite_device) {
    throw Failure(exit_usage, path + ": is no block device; leave --overwrite-device out");
  }
  if (!block_device) files_.create(path, bench_volume_bytes(options.file_bytes));

  handback::HostDeviceOptions host;
  host.engine = options.engine;
  host.notice = [](std::string_view text) { print_error(text); };
  device_ = value_of(handback::open_host_device(path, host), path);
  bool overwrite = false;
  if (block_device) {
    const std::uint64_t least = bench_volume_bytes(options.file_bytes);
    if (device_->geometry().size_bytes < least) {
      throw Failure(exit_no_space,
                    fmt::format("{}: has {}, and {} are needed; give a smaller --size", path,
                                human_size(device_->geometry().size_bytes), human_size(least)));
    }
    overwrite = holds_bench_volume(path, *issuer_, *device_);
  }
  kind_ = block_device ? "block-device" : "host-file";
  description_ = fmt::format(
      "a volume {}, by {}",
      block_device ? std::string("on a block device") : "in a host file on " + file_system_of(path),
      handback::host_engine_name(*device_));
  make_volume(path, options.file_bytes, overwrite);
}

void BenchTarget::make_volume(const std::string& what, std::uint64_t file_bytes, bool overwrite) {
  value_of(
      handback::Volume::format(*issuer_, *device_, {.label = bench_label, .overwrite = overwrite}),
      what);
  volume_ = value_of(handback::Volume::open(*issuer_, *device_), what);
  volume_file_ = make_written_file(*volume_, *issuer_, file_bytes);
  file_ = volume_file_.get();
  stop_bench_if_interrupted();
}

void BenchTarget::reopen(const handback::VolumeOptions& options) {
  volume_file_.reset();
  value_of(volume_->close(*issuer_), description_);
  volume_.reset();
  volume_ = value_of(handback::Volume::open(*issuer_, *device_, options), description_);
  volume_file_ = open_written_file(*volume_, *issuer_);
  file_ = volume_file_.get();
}

BenchTarget::~BenchTarget() {
  volume_file_.reset();
  device_file_.reset();
  if (volume_ != nullptr) {
    // The file goes with it; nobody reads it again.
    const auto ignored = volume_->close(*issuer_);
    static_cast<void>(ignored);
  }
}

}  // namespace tool
