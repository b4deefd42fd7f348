#include "ring/file_lock.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <ctime>
#include <fstream>
#include <iterator>

#include "base/planted_bug.h"
#include "ring/host_error.h"

namespace handback {
namespace {

constexpr std::int64_t dead_holder_pause_ns_max = 20'000'000;

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// The next word of `line`, taken off it.
std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

template <typename Number>
bool parse_number(std::string_view text, int base, Number& number) {
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number, base);
  return error == std::errc() && stopped == end;
}

// "fd:01:131187": major and minor in hexadecimal, the inode in decimal.
bool names(std::string_view id, const LockedFile& file) {
  const auto first = id.find(':');
  const auto second = id.find(':', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) return false;
  LockedFile found;
  return parse_number(id.substr(0, first), 16, found.device_major) &&
         parse_number(id.substr(first + 1, second - first - 1), 16, found.device_minor) &&
         parse_number(id.substr(second + 1), 10, found.inode) &&
         found.device_major == file.device_major && found.device_minor == file.device_minor &&
         found.inode == file.inode;
}

// Running, as opposed to gone or only waiting for its parent to ask how it ended.
bool is_alive(pid_t pid) {
  const std::string stat = read_text(fmt::format("/proc/{}/stat", pid));
  const auto name_end = stat.rfind(") ");  // The name before it may hold anything.
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return false;
  const char state = stat[name_end + 2];
  return state != 'Z' && state != 'X' && state != 'x';
}

std::string name_of(pid_t pid) {
  if (pid == ::getpid()) return "this process";
  std::string name = read_text(fmt::format("/proc/{}/comm", pid));
  while (!name.empty() && name.back() == '\n')
    name.pop_back();
  return fmt::format("process {} ({})", pid, name);
}

}  // namespace

std::vector<pid_t> parse_lock_holders(std::string_view proc_locks, const LockedFile& file) {
  std::vector<pid_t> holders;
  while (!proc_locks.empty()) {
    std::string_view line = proc_locks.substr(0, proc_locks.find('\n'));
    proc_locks.remove_prefix(std::min(line.size() + 1, proc_locks.size()));
    // "1: FLOCK  ADVISORY  WRITE 2374 fe:00:131187 0 EOF"; a waiter has "->" before FLOCK.
    take_word(line);
    if (take_word(line) != "FLOCK") continue;
    take_word(line);
    take_word(line);
    pid_t pid = 0;
    if (!parse_number(take_word(line), 10, pid) || pid <= 0) continue;
    if (names(take_word(line), file)) holders.push_back(pid);
  }
  return holders;
}

std::string living_lock_holder(const LockedFile& file) {
  for (const pid_t pid : parse_lock_holders(read_text("/proc/locks"), file)) {
    if (is_alive(pid)) return name_of(pid);
  }
  return {};
}

bool DeadHolderWait::again() noexcept {
  if (left_ns_ <= 0) return false;
  const timespec pause{0, static_cast<long>(next_ns_)};
  ::nanosleep(&pause, nullptr);  // Cut short by a signal: then the wait as a whole is shorter.
  left_ns_ -= next_ns_;
  next_ns_ = std::min(next_ns_ * 2, dead_holder_pause_ns_max);
  return true;
}

Result<void> lock_file(int fd, LockMode mode, const LockedFile& file, std::string_view path,
                       DeadHolderWait wait) {
  if (planted(PlantedBug::lock_not_taken)) return {};
  const int operation = (mode == LockMode::shared ? LOCK_SH : LOCK_EX) | LOCK_NB;
  while (::flock(fd, operation) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return host_error("lock", path, errno);
    if (const std::string holder = living_lock_holder(file); !holder.empty()) {
      return fail(Errc::busy, fmt::format("{} is held by {}; end that first", path, holder));
    }
    if (!wait.again()) {
      return fail(Errc::busy,
                  fmt::format("{} is held by a process that the host does not name; look "
                              "for it with 'lsof {}' or 'fuser {}'",
                              path, path, path));
    }
  }
  return {};
}

void unlock_file(int fd) noexcept {
  ::flock(fd, LOCK_UN);
}

}  // namespace handback
