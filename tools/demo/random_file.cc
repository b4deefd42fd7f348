#include "demo/random_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

#include "common/failure.h"
#include "common/host_fd.h"
#include "common/interrupt.h"
#include "common/progress.h"

namespace tool {
namespace {

constexpr std::size_t chunk_words = 128U << 10;

}  // namespace

std::uint64_t fresh_seed() {
  // Short enough to type again.
  return std::random_device()() % 1'000'000;
}

void write_random_file(const std::string& path, std::uint64_t size_bytes, std::uint64_t seed) {
  const HostFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.get() < 0) throw failure_of_errno(errno, path);
  SeededNumbers numbers(seed);
  std::vector<std::uint64_t> words(chunk_words);
  Progress progress("generating");
  for (std::uint64_t offset = 0; offset < size_bytes;) {
    if (interrupted_by() != 0)
      throw Failure(exit_signal_base + interrupted_by(), "stopped by a signal");
    for (auto& word : words)
      word = numbers.next();
    const auto chunk = std::as_bytes(std::span(words));
    const std::uint64_t length = std::min<std::uint64_t>(chunk.size(), size_bytes - offset);
    const std::string error = file.write_all(chunk.first(length), offset);
    if (!error.empty()) throw Failure(exit_failed, fmt::format("{}: {}", path, error));
    offset += length;
    progress.update(offset, size_bytes);
  }
}

}  // namespace tool
