// What the writer has been acknowledged, in memory that outlives it.
//
// The writer notes what it is about to do before it asks the volume, and that it was acknowledged
// after the volume said so. Killed at any instruction, what stands here says which contents each
// file may have. Atomics keep the stores in order; nothing is shared between living processes but
// the counters.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tool::kill_loops {

inline constexpr unsigned threads_max = 8;
inline constexpr unsigned slots_per_thread = 3;
inline constexpr unsigned file_units = 96;        // Of the device's logical block.
inline constexpr unsigned log_units_max = 16384;  // Of the file that all threads append to.
inline constexpr unsigned violation_text_max = 200;

// One unit of a file holds zeros or a version. Zeros are allowed while `durable` is 0; a version if
// it is from max(low, durable) to issued.
struct Unit {
  std::atomic<std::uint32_t> durable;
  std::atomic<std::uint32_t> issued;
  std::atomic<std::uint32_t> low;
};

struct FileState {
  std::atomic<std::uint32_t> id;       // In every unit; never used again for another file.
  std::atomic<std::uint32_t> version;  // The newest of any unit.
  std::atomic<std::uint32_t> size_min;
  std::atomic<std::uint32_t> size_max;
  Unit units[file_units];
};

// What was asked for and may or may not be durable.
enum class Pending : std::uint32_t { none, create, rename, link, unlink, replace, remove };

// A file with one name, or two while it has a link.
struct Slot {
  std::atomic<std::uint32_t> exists;
  std::atomic<std::uint32_t> name;    // The number in its name; a rename counts it up.
  std::atomic<std::uint32_t> linked;  // It has its second name.
  std::atomic<Pending> pending;
  std::atomic<std::uint32_t> current;  // Which of `files`; the other is the one that replaces it.
  FileState files[2];
};

enum class Act : std::uint32_t {
  write,
  append,
  fsync,
  truncate,
  preallocate,
  rename,
  link,
  unlink,
  replace,
  remove,
  log_append,
};
inline constexpr unsigned act_count = 11;
inline constexpr const char* act_names[act_count] = {
    "write", "append", "fsync",   "truncate", "preallocate", "rename",
    "link",  "unlink", "replace", "remove",   "log_append"};

struct ThreadState {
  Slot slots[slots_per_thread];
  std::atomic<std::uint32_t> log_issued;  // Appends to the common file so far.
};

struct SharedState {
  std::atomic<std::uint32_t> ready;   // The writer has opened the volume and begun.
  std::atomic<std::uint32_t> failed;  // The writer was told of an error, or found one.
  char failure[violation_text_max];
  std::atomic<std::uint64_t> acknowledged[act_count];
  std::atomic<std::uint32_t> ids;  // The last one given to a file.
  ThreadState threads[threads_max];
  // Of the common file: which append was acknowledged at each unit; 0: none. See log_mark().
  std::atomic<std::uint64_t> log_acknowledged[log_units_max];
};

[[nodiscard]] constexpr std::uint64_t log_mark(unsigned thread, std::uint32_t number) noexcept {
  return (std::uint64_t{thread} + 1) << 32 | number;
}

}  // namespace tool::kill_loops
