#include "sim/operation.h"

#include <fmt/format.h>

#include <array>

namespace handback::sim {

const char* to_string(OperationKind kind) noexcept {
  constexpr std::array<const char*, operation_kind_count> names = {
      "write",          "append", "truncate", "preallocate", "set_mtime", "create",
      "mkdir",          "unlink", "rmdir",    "rename",      "link",      "fsync",
      "sync_directory", "sync",   "freeze",   "reopen",      "read"};
  return names[static_cast<std::size_t>(kind)];
}

std::string to_string(const Operation& operation) {
  std::string text = to_string(operation.kind);
  if (!operation.path.empty()) text += " " + operation.path;
  if (!operation.path_to.empty()) text += " " + operation.path_to;
  switch (operation.kind) {
    case OperationKind::write:
    case OperationKind::preallocate:
    case OperationKind::read:
      text += fmt::format(" at {} {} bytes", operation.offset, operation.length);
      break;
    case OperationKind::append:
      text += fmt::format(" {} bytes", operation.length);
      break;
    case OperationKind::truncate:
      text += fmt::format(" to {}", operation.length);
      break;
    default:
      break;
  }
  if (operation.dsync) text += " dsync";
  if (operation.in_flight) text += " (not waited for)";
  return text;
}

// The tree that they find: /a of 12 KiB, /b of 4 KiB, /d, /d/c of 8 KiB, and /e, empty.
std::span<const Operation> concrete_operations() {
  using enum OperationKind;
  constexpr std::uint64_t k = 1024;
  static const std::array operations = {
      Operation{write, "@a", {}, 0, 4 * k, false},
      Operation{write, "@a", {}, 0, 4 * k, true},
      Operation{write, "@a", {}, 4 * k, 8 * k, true},
      Operation{write, "@a", {}, 8 * k, 8 * k, false},
      Operation{write, "@a", {}, 8 * k, 8 * k, true},
      Operation{write, "@a", {}, 20 * k, 4 * k, false},
      Operation{write, "@a", {}, 20 * k, 4 * k, true},
      Operation{append, "@a", {}, 0, 4 * k, false},
      Operation{append, "@a", {}, 0, 4 * k, true},
      Operation{append, "@a", {}, 0, 8 * k, true},
      Operation{append, "@b", {}, 0, 4 * k, true},
      Operation{write, "@b", {}, 0, 4 * k, false},
      Operation{write, "@b", {}, 4 * k, 4 * k, true},
      Operation{write, "/n", {}, 0, 4 * k, true},
      Operation{append, "/n", {}, 0, 4 * k, false},
      Operation{create, "/n"},
      Operation{create, "/d/n"},
      Operation{truncate, "@a", {}, 0, 0},
      Operation{truncate, "@a", {}, 0, 4 * k},
      Operation{truncate, "@a", {}, 0, 4 * k + 512},
      Operation{truncate, "@a", {}, 0, 20 * k},
      Operation{preallocate, "@a", {}, 12 * k, 16 * k},
      Operation{preallocate, "@b", {}, 0, 12 * k},
      Operation{rename, "/a", "/z"},
      Operation{rename, "/b", "/a"},
      Operation{rename, "/d/c", "/c"},
      Operation{rename, "/d", "/g"},
      Operation{rename, "/d", "/e"},
      Operation{link, "/a", "/l"},
      Operation{link, "/d/c", "/d/m"},
      Operation{unlink, "/a"},
      Operation{unlink, "/b"},
      Operation{unlink, "/d/c"},
      Operation{mkdir, "/m"},
      Operation{mkdir, "/d/s"},
      Operation{rmdir, "/e"},
      Operation{fsync, "@a"},
      Operation{fsync, "@b"},
      Operation{sync_directory, "/"},
      Operation{sync_directory, "/d"},
      Operation{sync},
      Operation{set_mtime, "@a"},
      Operation{freeze},
      Operation{reopen},
  };
  return operations;
}

}  // namespace handback::sim
