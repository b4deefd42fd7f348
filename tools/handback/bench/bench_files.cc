#include "handback/bench/bench_files.h"

#include <handback/host_device.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/progress.h"

namespace tool {

BenchFiles::~BenchFiles() {
  for (const auto& path : files_)
    unlink(path.c_str());
  for (const auto& path : folders_)
    rmdir(path.c_str());
}

std::string BenchFiles::make_folder(const std::string& parent) {
  std::string path = parent + "/handback-bench-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) throw failure_of_errno(errno, parent);
  folders_.push_back(path);
  return path;
}

void BenchFiles::create(const std::string& path, std::uint64_t size_bytes) {
  Progress progress("writing " + path);
  const auto created = handback::create_host_file(
      path, size_bytes, [&progress](std::uint64_t done_bytes, std::uint64_t total_bytes) {
        progress.update(done_bytes, total_bytes);
        return interrupted_by() == 0;
      });
  if (created) files_.push_back(path);
  stop_bench_if_interrupted();
  value_of(handback::Result<void>(created), path);
}

void stop_bench_if_interrupted() {
  if (interrupted_by() != 0) {
    throw Failure(exit_signal_base + interrupted_by(),
                  "bench: stopped by a signal; its files were removed");
  }
}

}  // namespace tool
