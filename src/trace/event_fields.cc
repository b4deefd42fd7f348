#include "trace/event_fields.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

namespace handback {
namespace {

// In the order in which they are printed.
enum Field : std::uint32_t {
  field_file = 1U << 0,
  field_size = 1U << 1,
  field_range = 1U << 2,
  field_flags = 1U << 3,
  field_begin = 1U << 4,  // What the kernel prints of a request that begins and is constant here.
  field_aio = 1U << 5,
  field_result = 1U << 6,
  field_route = 1U << 7,
  field_context = 1U << 8,
  field_other = 1U << 9,
  field_waited = 1U << 10,
  field_count = 1U << 11,
  field_request = 1U << 12,  // JSON only: in text it would drown the rest.
};

struct EventLayout {
  std::string_view name;
  std::uint32_t fields;
};

constexpr std::uint32_t of_request = field_request | field_file | field_range | field_flags;

constexpr std::array<EventLayout, trace_event_count> layouts{{
    {"iomap_dio_rw_begin", of_request | field_size | field_begin | field_aio},
    {"iomap_dio_rw_queued", of_request | field_size},
    {"iomap_dio_complete", of_request | field_aio | field_result | field_route | field_context},
    {"handback_deliver", of_request | field_result | field_route},
    {"handback_adopt", of_request | field_other},
    {"handback_nudge", field_other},
    {"handback_drain_begin", field_request | field_range},
    {"handback_drain_end", field_request | field_range | field_waited},
    {"handback_lost", field_count},
}};

const EventLayout& layout_of(TraceEvent event) noexcept {
  static constexpr EventLayout unknown{"unknown", 0};
  const auto index = static_cast<std::size_t>(event);
  return index < layouts.size() ? layouts[index] : unknown;
}

std::string_view other_name(TraceEvent event) noexcept {
  return event == TraceEvent::adopt ? "owner" : "to";
}

// Appends " name value", without the blank in front of the first.
class TextFields {
 public:
  explicit TextFields(std::string& out) : out_(out), begin_(out.size()) {}

  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    if (out_.size() != begin_) out_ += ' ';
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

 private:
  std::string& out_;
  std::size_t begin_;
};

class JsonFields {
 public:
  explicit JsonFields(std::string& out) : out_(out), begin_(out.size()) {}

  void add_number(std::string_view name, std::uint64_t value) {
    begin(name);
    fmt::format_to(std::back_inserter(out_), "{}", value);
  }
  void add_bool(std::string_view name, bool value) {
    begin(name);
    out_ += value ? "true" : "false";
  }
  void add_string(std::string_view name, std::string_view value) {
    begin(name);
    append_json_string(out_, value);
  }

 private:
  void begin(std::string_view name) {
    if (out_.size() != begin_) out_ += ',';
    fmt::format_to(std::back_inserter(out_), "\"{}\":", name);
  }

  std::string& out_;
  std::size_t begin_;
};

void add_result(TextFields& text, IoResult result) {
  if (result.ok()) {
    text.add("error 0");
  } else {
    text.add("error {}", errc_name(result.code()));
  }
  if (result.host_errno() != 0) text.add("errno {}", result.host_errno());
  text.add("ret {}", result.bytes());
}

void add_result(JsonFields& json, IoResult result) {
  json.add_string("result", errc_name(result.code()));
  if (result.host_errno() != 0)
    json.add_number("errno", static_cast<std::uint64_t>(result.host_errno()));
  json.add_number("bytes", result.bytes());
}

}  // namespace

std::string_view to_string(TraceEvent event) noexcept {
  return layout_of(event).name;
}

void append_text_fields(std::string& out, const TraceRecord& record) {
  const std::uint32_t fields = layout_of(record.event).fields;
  TextFields text(out);
  if ((fields & field_file) != 0) text.add("ino {:#x}", record.file_id);
  if ((fields & field_size) != 0) text.add("size {:#x}", record.size_bytes());
  if ((fields & field_range) != 0)
    text.add("offset {:#x} length {:#x}", record.offset, record.length);
  if ((fields & field_begin) != 0) text.add("done_before 0x0");
  if ((fields & field_flags) != 0) text.add("flags {}", to_string(record.flags));
  if ((fields & field_begin) != 0) text.add("dio_flags 0");
  if ((fields & field_aio) != 0) text.add("aio {:d}", record.aio);
  if ((fields & field_result) != 0) add_result(text, record.result());
  if ((fields & field_route) != 0)
    text.add("route {} reason {}", to_string(record.route), to_string(record.reason));
  if ((fields & field_context) != 0)
    text.add("context {} adopted {:d}", to_string(record.context), record.adopted);
  if ((fields & field_other) != 0) text.add("{} {}", other_name(record.event), record.other_tid());
  if ((fields & field_waited) != 0) text.add("waited_ns {}", record.waited_ns());
  if ((fields & field_count) != 0) text.add("count {}", record.lost_count());
}

void append_json_fields(std::string& out, const TraceRecord& record) {
  const std::uint32_t fields = layout_of(record.event).fields;
  JsonFields json(out);
  if ((fields & field_request) != 0)
    json.add_string("request", fmt::format("{:#x}", record.request));
  if ((fields & field_file) != 0) json.add_number("ino", record.file_id);
  if ((fields & field_size) != 0) json.add_number("size", record.size_bytes());
  if ((fields & field_range) != 0) {
    json.add_number("offset", record.offset);
    json.add_number("length", record.length);
  }
  if ((fields & field_flags) != 0) json.add_string("flags", to_string(record.flags));
  if ((fields & field_aio) != 0) json.add_bool("aio", record.aio);
  if ((fields & field_result) != 0) add_result(json, record.result());
  if ((fields & field_route) != 0) {
    json.add_string("route", to_string(record.route));
    json.add_string("reason", to_string(record.reason));
  }
  if ((fields & field_context) != 0) {
    json.add_string("context", to_string(record.context));
    json.add_bool("adopted", record.adopted);
  }
  if ((fields & field_other) != 0) json.add_number(other_name(record.event), record.other_tid());
  if ((fields & field_waited) != 0) json.add_number("waited_ns", record.waited_ns());
  if ((fields & field_count) != 0) json.add_number("count", record.lost_count());
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter == '"' || letter == '\\') {
      out += '\\';
      out += letter;
    } else if (byte < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
    } else {
      out += byte < 0x80 ? letter : '?';
    }
  }
  out += '"';
}

}  // namespace handback
