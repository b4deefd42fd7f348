#include "handback/trace_output.h"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <string_view>

namespace tool {
namespace {

// 8 MiB for each thread: what a busy one records in some 30 ms.
constexpr std::uint32_t records_per_thread = 1U << 17;
constexpr std::chrono::milliseconds pause_between_reads{5};

}  // namespace

TraceOutput::TraceOutput(int fd, handback::TraceFormat format) : fd_(fd), writer_(format) {
  // Signals are for the command's thread, whose waits they are to end.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  handback::trace_start({.records_per_thread = records_per_thread});
}

void TraceOutput::stop() {
  if (!thread_.joinable()) return;
  handback::trace_stop();
  {
    const std::lock_guard guard(mutex_);
    stopping_ = true;
  }
  stopping_changed_.notify_one();
  thread_.join();
}

void TraceOutput::run() {
  pthread_setname_np(pthread_self(), "trace");
  for (bool stopping = false; !stopping;) {
    while (write_batch()) {
    }
    std::unique_lock lock(mutex_);
    stopping = stopping_changed_.wait_for(lock, pause_between_reads, [this] { return stopping_; });
  }
  while (write_batch()) {
  }
  write_out(writer_.finish());
}

bool TraceOutput::write_batch() {
  const handback::TraceBatch batch = handback::trace_read();
  if (batch.records.empty()) return false;
  lost_ += batch.lost;
  write_out(writer_.write(batch));
  return true;
}

// Not through stdio, which loses bytes when a signal that is only noted cuts a write short. What
// cannot be written is still read, so that the command goes on as it would.
void TraceOutput::write_out(const std::string& text) {
  std::string_view rest = text;
  while (!rest.empty() && !failed_) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) failed_ = true;
    if (written > 0) rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace tool
