// What durable operations cost a device: its writes and flushes, counted.
#pragma once

#include <array>
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace tool {

enum class DurableOperation {
  overwrite,
  append,
  create,
  replace,
  rename,
  truncate,
  link,
};
inline constexpr std::array durable_operations{
    DurableOperation::overwrite, DurableOperation::append, DurableOperation::create,
    DurableOperation::replace,   DurableOperation::rename, DurableOperation::truncate,
    DurableOperation::link};

// What one writes, and how often each is done for its mean.
inline constexpr std::size_t durable_write_bytes = 4096;
inline constexpr unsigned durable_rounds = 32;

// "create, write 4 KiB, fsync"
[[nodiscard]] std::string describe(DurableOperation operation);

// Of one operation: means of many, since a journal may do work of several at once.
struct OperationCost {
  double writes = 0;
  double fua_writes = 0;  // Of the writes; of a kernel's file system, unknown.
  double flushes = 0;
};

struct DurableColumn {
  std::string target;  // "handback", "ext4"
  std::string device;  // "write-through", "FUA", "flush only"
  std::array<OperationCost, durable_operations.size()> costs;
};

// A volume on a memory device of each kind. Throws Failure.
[[nodiscard]] std::vector<DurableColumn> measure_volume_operations();

// The file system of a folder, by what the kernel counts for the device below. Nobody else may use
// that device meanwhile. Throws Failure.
[[nodiscard]] DurableColumn measure_host_operations(const std::string& directory);

// "2 writes", "2 FUA writes", "2 writes, 1 flush"; of means that are no whole numbers with a tenth.
[[nodiscard]] std::string describe(const OperationCost& cost);

[[nodiscard]] nlohmann::ordered_json durable_json(const std::vector<DurableColumn>& columns);
[[nodiscard]] std::string durable_markdown(const std::vector<DurableColumn>& columns);

}  // namespace tool
