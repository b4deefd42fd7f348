// Events in the Trace Event Format, which Perfetto and chrome://tracing open.
#pragma once

#include <handback/trace.h>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace handback {

// One span for each request, from begin to deliver, and in it one until it was settled and one from
// there until it is delivered; one span for each drain; everything else is a mark on its thread.
class ChromeEvents {
 public:
  explicit ChromeEvents(std::uint32_t process) : process_(process) {}

  void append_head(std::string& out);
  void append_thread(std::string& out, const TraceThread& thread);
  void append(std::string& out, const TraceRecord& record);
  void append_foot(std::string& out) const;

 private:
  // A span ends as it began: its name is part of how it is found.
  struct Open {
    std::string name;
    bool settled = false;
  };

  void begin_event(std::string& out, char phase, std::string_view name);
  void append_async(std::string& out, char phase, std::string_view category, std::string_view name,
                    const TraceRecord& record, bool with_args);
  void append_mark(std::string& out, const TraceRecord& record);
  void append_args(std::string& out, const TraceRecord& record) const;

  const std::uint32_t process_;
  bool first_ = true;
  std::unordered_map<std::uint64_t, Open> open_;  // By TraceRecord::request.
};

}  // namespace handback
