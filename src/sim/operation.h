// One operation on a volume, concrete: what to call, on what, with which numbers.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace handback::sim {

enum class OperationKind : std::uint8_t {
  write,
  append,
  truncate,
  preallocate,
  set_mtime,
  create,
  mkdir,
  unlink,
  rmdir,
  rename,
  link,
  fsync,
  sync_directory,
  sync,
  freeze,  // And thaw.
  reopen,  // Close and open.
  read,
};
inline constexpr unsigned operation_kind_count = 17;

struct Operation {
  OperationKind kind = OperationKind::sync;
  // A path, or "@x": the file that had the name /x at the beginning, by its handle.
  std::string path = {};
  std::string path_to = {};
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // Of a truncate: the new size.
  bool dsync = false;
  // Goes on without waiting for its end.
  bool in_flight = false;
};

[[nodiscard]] const char* to_string(OperationKind kind) noexcept;
[[nodiscard]] std::string to_string(const Operation& operation);

// The operations whose sequences are tried exhaustively.
[[nodiscard]] std::span<const Operation> concrete_operations();

}  // namespace handback::sim
