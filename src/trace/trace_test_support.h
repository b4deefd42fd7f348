// A trace that a test records and reads.
#pragma once

#include <gtest/gtest.h>
#include <handback/trace.h>
#include <vector>

namespace handback::testing {

// Records while it exists. Begins with nothing left over from before.
class RecordedTrace {
 public:
  explicit RecordedTrace(const TraceOptions& options = {}) {
    static_cast<void>(trace_read());
    trace_start(options);
  }
  RecordedTrace(const RecordedTrace&) = delete;
  RecordedTrace& operator=(const RecordedTrace&) = delete;
  ~RecordedTrace() {
    trace_stop();
    static_cast<void>(trace_read());
  }

  // Everything so far, by time.
  const std::vector<TraceRecord>& all() {
    TraceBatch batch = trace_read();
    lost += batch.lost;
    records_.insert(records_.end(), batch.records.begin(), batch.records.end());
    return records_;
  }
  std::vector<TraceRecord> of(TraceEvent event) {
    std::vector<TraceRecord> found;
    for (const TraceRecord& record : all()) {
      if (record.event == event) found.push_back(record);
    }
    return found;
  }
  std::vector<TraceEvent> events() {
    std::vector<TraceEvent> found;
    for (const TraceRecord& record : all())
      found.push_back(record.event);
    return found;
  }

  std::uint64_t lost = 0;

 private:
  std::vector<TraceRecord> records_;
};

}  // namespace handback::testing
