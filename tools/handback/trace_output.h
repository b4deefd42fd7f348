// Records this process's trace while a command runs, and writes it to a descriptor meanwhile.
#pragma once

#include <handback/trace.h>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace tool {

class TraceOutput {
 public:
  // Begins to record. A thread of its own reads what the others record and writes it, so that a
  // long trace needs neither memory nor luck.
  TraceOutput(int fd, handback::TraceFormat format);
  TraceOutput(const TraceOutput&) = delete;
  TraceOutput& operator=(const TraceOutput&) = delete;
  ~TraceOutput() { stop(); }

  // Ends it and writes the rest.
  void stop();

  // After stop(): events that came faster than they could be written, and whether the descriptor
  // took everything.
  [[nodiscard]] std::uint64_t lost() const { return lost_; }
  [[nodiscard]] bool complete() const { return !failed_; }

 private:
  void run();
  // False if there was nothing.
  bool write_batch();
  void write_out(const std::string& text);

  const int fd_;
  handback::TraceWriter writer_;
  std::uint64_t lost_ = 0;
  bool failed_ = false;
  std::mutex mutex_;
  std::condition_variable stopping_changed_;
  bool stopping_ = false;
  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace tool
