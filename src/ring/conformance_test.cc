#include "block/device_conformance.h"

#include <handback/host_device.h>

#include "ring/host_block_device.h"
#include "ring/test_files.h"

namespace handback::testing {
namespace {

// A device and what it stands on; destroyed from the top.
struct Stack {
  TempFolder folder;
  std::unique_ptr<LoopDevice> loop;
  std::unique_ptr<BlockDevice> device;
};

enum class Backing : std::uint8_t { file, loop_device, loop_device_of_4096 };

Result<std::shared_ptr<BlockDevice>> make(Backing backing, HostEngine engine,
                                          const UringFeatures& allowed,
                                          const DeviceRequest& request, unsigned deadline_ms) {
  auto stack = std::make_shared<Stack>();
  std::string path = stack->folder.file("device");
  if (auto made = create_host_file(path, request.size_bytes); !made) {
    return tl::unexpected(made.error());
  }
  if (backing != Backing::file) {
    auto loop = LoopDevice::attach(path, backing == Backing::loop_device ? 512 : 4096);
    if (!loop) return fail(Errc::not_supported, loop.error());
    stack->loop = std::move(*loop);
    path = stack->loop->path();
  }
  HostDeviceOptions options;
  options.engine = engine;
  options.read_only = request.read_only;
  options.queue_depth = request.queue_depth;
  options.threads = 4;
  options.deadline_ms = deadline_ms;
  auto opened = open_host_device_with(path, options, allowed);
  if (!opened) return tl::unexpected(opened.error());
  stack->device = std::move(*opened);
  BlockDevice* const device = stack->device.get();
  return std::shared_ptr<BlockDevice>(std::move(stack), device);
}

DeviceUnderTest device(std::string name, Backing backing, HostEngine engine,
                       const UringFeatures& allowed = {}, unsigned deadline_ms = 0) {
  return {std::move(name), [=](const DeviceRequest& request) {
            return make(backing, engine, allowed, request, deadline_ms);
          }};
}

// As on a kernel that has the next best mode only, and on one that has nothing optional.
UringFeatures without_deferring() {
  UringFeatures features;
  features.deferred = false;
  features.registered_ring = false;
  return features;
}
UringFeatures nothing_optional() {
  return UringFeatures{.deferred = false,
                       .cooperative = false,
                       .registered_ring = false,
                       .fixed_file = false,
                       .fixed_buffers = false,
                       .timed_wait = false};
}

HB_INSTANTIATE_CONFORMANCE(
    ring, device("io_uring_on_a_file", Backing::file, HostEngine::io_uring),
    device("io_uring_on_a_block_device", Backing::loop_device, HostEngine::io_uring),
    device("io_uring_on_a_block_device_of_4096", Backing::loop_device_of_4096,
           HostEngine::io_uring),
    device("io_uring_without_deferring", Backing::file, HostEngine::io_uring, without_deferring()),
    device("io_uring_with_nothing_optional", Backing::file, HostEngine::io_uring,
           nothing_optional()),
    device("threads_on_a_file", Backing::file, HostEngine::threads),
    device("threads_on_a_block_device", Backing::loop_device, HostEngine::threads),
    device("io_uring_with_a_deadline", Backing::file, HostEngine::io_uring, {}, 30'000),
    device("threads_with_a_deadline", Backing::file, HostEngine::threads, {}, 30'000));

}  // namespace
}  // namespace handback::testing
