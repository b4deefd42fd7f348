#include "trace/chrome.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "trace/event_fields.h"

namespace handback {
namespace {

constexpr std::string_view span_in_flight = "until settled";
constexpr std::string_view span_settled = "until delivered";
constexpr std::string_view span_drain = "drain";

}  // namespace

void ChromeEvents::append_head(std::string& out) {
  out += "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
  begin_event(out, 'M', "process_name");
  fmt::format_to(std::back_inserter(out), ",\"pid\":{},\"args\":{{\"name\":\"handback\"}}}}",
                 process_);
}

void ChromeEvents::append_foot(std::string& out) const {
  out += "\n]}\n";
}

void ChromeEvents::begin_event(std::string& out, char phase, std::string_view name) {
  out += first_ ? "\n" : ",\n";
  first_ = false;
  fmt::format_to(std::back_inserter(out), "{{\"ph\":\"{}\",\"name\":\"{}\"", phase, name);
}

void ChromeEvents::append_thread(std::string& out, const TraceThread& thread) {
  begin_event(out, 'M', "thread_name");
  fmt::format_to(std::back_inserter(out), ",\"pid\":{},\"tid\":{},\"args\":{{\"name\":", process_,
                 thread.tid);
  append_json_string(out, thread.name);
  out += "}}";
}

void ChromeEvents::append_args(std::string& out, const TraceRecord& record) const {
  fmt::format_to(std::back_inserter(out),
                 ",\"pid\":{},\"tid\":{},\"ts\":{}.{:03},\"args\":{{\"cpu\":{}", process_,
                 record.tid, record.time_ns / 1000, record.time_ns % 1000, record.cpu);
  // The other events have it among their fields.
  if (record.event != TraceEvent::iomap_dio_complete)
    fmt::format_to(std::back_inserter(out), ",\"context\":\"{}\"", to_string(record.context));
  const std::size_t before = out.size();
  out += ',';
  append_json_fields(out, record);
  if (out.size() == before + 1) out.pop_back();
  out += "}}";
}

void ChromeEvents::append_async(std::string& out, char phase, std::string_view category,
                                std::string_view name, const TraceRecord& record, bool with_args) {
  begin_event(out, phase, name);
  fmt::format_to(std::back_inserter(out), ",\"cat\":\"{}\",\"id\":\"{:#x}\"", category,
                 record.request);
  if (with_args) {
    append_args(out, record);
  } else {
    fmt::format_to(std::back_inserter(out), ",\"pid\":{},\"tid\":{},\"ts\":{}.{:03}}}", process_,
                   record.tid, record.time_ns / 1000, record.time_ns % 1000);
  }
}

void ChromeEvents::append_mark(std::string& out, const TraceRecord& record) {
  begin_event(out, 'i', to_string(record.event));
  out += ",\"s\":\"t\"";
  append_args(out, record);
}

void ChromeEvents::append(std::string& out, const TraceRecord& record) {
  const auto found = open_.find(record.request);
  switch (record.event) {
    case TraceEvent::iomap_dio_rw_begin: {
      Open open{.name =
                    fmt::format("{} ino {}", is_write(record) ? "write" : "read", record.file_id)};
      append_async(out, 'b', "request", open.name, record, true);
      append_async(out, 'b', "request", span_in_flight, record, false);
      open_[record.request] = std::move(open);
      return;
    }
    case TraceEvent::iomap_dio_complete:
      if (found == open_.end()) break;
      append_async(out, 'e', "request", span_in_flight, record, true);
      found->second.settled = true;
      if (record.aio) {
        append_async(out, 'b', "request", span_settled, record, false);
      } else {
        append_async(out, 'e', "request", found->second.name, record, false);
        open_.erase(found);
      }
      return;
    case TraceEvent::deliver:
      if (found == open_.end()) break;
      append_async(out, 'e', "request", found->second.settled ? span_settled : span_in_flight,
                   record, false);
      append_async(out, 'e', "request", found->second.name, record, true);
      open_.erase(found);
      return;
    case TraceEvent::drain_begin:
      append_async(out, 'b', "drain", span_drain, record, true);
      return;
    case TraceEvent::drain_end:
      append_async(out, 'e', "drain", span_drain, record, true);
      return;
    default:
      break;
  }
  // Nothing to span, or what began it is not in this trace.
  append_mark(out, record);
}

}  // namespace handback
