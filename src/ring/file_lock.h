// Exclusive ownership of a host file between processes, and who has it when it is not ours.
#pragma once

#include <sys/types.h>

#include <handback/error.h>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace handback {

// What identifies a file in /proc/locks.
struct LockedFile {
  unsigned device_major = 0;
  unsigned device_minor = 0;
  std::uint64_t inode = 0;
};

// Processes that hold a flock on `file` according to `proc_locks`, the text of /proc/locks. Those
// that only wait for one are left out.
[[nodiscard]] std::vector<pid_t> parse_lock_holders(std::string_view proc_locks,
                                                    const LockedFile& file);

// The living process that holds a flock on `file`, in words: "process 1234 (fio)", or "this
// process". Empty if there is none, or the host does not say.
[[nodiscard]] std::string living_lock_holder(const LockedFile& file);

enum class LockMode : std::uint8_t { shared, exclusive };

inline constexpr std::int64_t dead_holder_wait_ns_max = 5'000'000'000;

// Paces the wait for something that a dead process still holds: the kernel ends the in-flight
// writes of a killed process, and so closes its files, some milliseconds after its death.
class DeadHolderWait {
 public:
  explicit DeadHolderWait(std::int64_t limit_ns = dead_holder_wait_ns_max) noexcept
      : left_ns_(limit_ns) {}
  // Sleeps, a little longer each time, and returns true; or returns false at once if the limit is
  // reached.
  [[nodiscard]] bool again() noexcept;

 private:
  std::int64_t left_ns_;
  std::int64_t next_ns_ = 500'000;
};

// Locks the open file for as long as it is open, or until unlock_file().
// Waits only for a holder that is no longer alive.
// Errors: busy (naming the holder), not_supported, io.
[[nodiscard]] Result<void> lock_file(int fd, LockMode mode, const LockedFile& file,
                                     std::string_view path, DeadHolderWait wait = DeadHolderWait());

// Lets go at once, although requests that just ended may keep the open file for a while.
void unlock_file(int fd) noexcept;

}  // namespace handback
