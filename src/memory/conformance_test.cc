#include <handback/deadline_device.h>
#include <handback/memory_device.h>

#include "block/device_conformance.h"
#include "block/limit_device.h"

namespace handback::testing {
namespace {

// A device and what it stands on.
struct Stack {
  std::unique_ptr<BlockDevice> below;
  std::unique_ptr<BlockDevice> top;
};

Result<std::shared_ptr<BlockDevice>> own(std::unique_ptr<BlockDevice> below,
                                         std::unique_ptr<BlockDevice> top) {
  auto stack = std::make_shared<Stack>(Stack{std::move(below), std::move(top)});
  BlockDevice* const device = stack->top.get();
  return std::shared_ptr<BlockDevice>(std::move(stack), device);
}

// Memory has no read-only mode of its own.
Result<std::shared_ptr<BlockDevice>> as_requested(std::unique_ptr<BlockDevice> device,
                                                  const DeviceRequest& request) {
  if (!request.read_only) return own(nullptr, std::move(device));
  Geometry geometry = device->geometry();
  geometry.read_only = true;
  auto limit = std::make_unique<LimitDevice>(*device, geometry);
  return own(std::move(device), std::move(limit));
}

DeviceUnderTest memory() {
  return {"memory", [](const DeviceRequest& request) {
            MemoryDeviceOptions options;
            options.size_bytes = request.size_bytes;
            return as_requested(make_memory_device(options), request);
          }};
}

DeviceUnderTest memory_of_512() {
  return {"memory_of_512_aligned_to_512", [](const DeviceRequest& request) {
            MemoryDeviceOptions options;
            options.size_bytes = request.size_bytes;
            options.logical_block_bytes = 512;
            options.memory_alignment_bytes = 512;
            options.volatile_cache = true;
            options.fua = true;
            return as_requested(make_memory_device(options), request);
          }};
}

DeviceUnderTest null() {
  return {"null", [](const DeviceRequest& request) {
            MemoryDeviceOptions options;
            options.size_bytes = request.size_bytes;
            return as_requested(make_null_device(options), request);
          }};
}

DeviceUnderTest limited_memory() {
  return {"limited_memory", [](const DeviceRequest& request) {
            MemoryDeviceOptions options;
            options.size_bytes = 2 * request.size_bytes;
            options.logical_block_bytes = 512;
            auto below = make_memory_device(options);
            Geometry geometry = below->geometry();
            geometry.size_bytes = request.size_bytes;
            geometry.logical_block_bytes = 4096;
            geometry.memory_alignment_bytes = 64;
            geometry.transfer_bytes_max = 128U << 10;
            geometry.volatile_cache = true;
            geometry.fua = false;
            geometry.read_only = request.read_only;
            auto limit = std::make_unique<LimitDevice>(*below, geometry);
            return own(std::move(below), std::move(limit));
          }};
}

DeviceUnderTest memory_with_a_deadline() {
  return {"memory_with_a_deadline", [](const DeviceRequest& request) {
            MemoryDeviceOptions options;
            options.size_bytes = request.size_bytes;
            options.volatile_cache = true;
            return as_requested(make_deadline_device(make_memory_device(options)), request);
          }};
}

HB_INSTANTIATE_CONFORMANCE(memory, memory(), memory_of_512(), null(), limited_memory(),
                           memory_with_a_deadline());

}  // namespace
}  // namespace handback::testing
