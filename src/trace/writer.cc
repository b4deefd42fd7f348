#include <fmt/format.h>
#include <unistd.h>

#include <iterator>
#include <map>
#include <utility>

#include "trace/chrome.h"
#include "trace/event_fields.h"

namespace handback {
namespace {

// As the kernel's header, but that its column of interrupt states, of which a program has none,
// tells the context.
constexpr std::string_view ftrace_head =
    "# tracer: nop\n"
    "#\n"
    "#                                _-----=> context: t task, d device, i issuer, w worker\n"
    "#                               / _----=> a: settled by the thread of another issuer\n"
    "#                              | / _---=> always a dot, as are the next two\n"
    "#                              || /\n"
    "#                              |||\n"
    "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
    "#              | |         |   |||||     |         |\n";

constexpr char context_letter(Context context) noexcept {
  switch (context) {
    case Context::task:
      return 't';
    case Context::device:
      return 'd';
    case Context::issuer:
      return 'i';
    case Context::worker:
      return 'w';
  }
  return '?';
}

// A line ends where a line of the trace ends.
std::string printable_name(std::string_view name) {
  std::string text(name);
  for (char& letter : text) {
    if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) letter = '?';
  }
  return text;
}

}  // namespace

struct TraceWriter::Impl {
  Impl(TraceFormat as, std::uint32_t process) : format(as), chrome(process) {}

  [[nodiscard]] std::string_view name_of(std::uint32_t tid) const {
    const auto found = names.find(tid);
    return found == names.end() ? std::string_view("<...>") : std::string_view(found->second);
  }

  void begin(std::string& out) {
    if (std::exchange(begun, true)) return;
    if (format == TraceFormat::ftrace) out += ftrace_head;
    if (format == TraceFormat::chrome) chrome.append_head(out);
  }

  void learn(std::string& out, const TraceThread& thread) {
    std::string& known = names[thread.tid];
    if (known == thread.name && !known.empty()) return;
    known = thread.name;
    if (format == TraceFormat::chrome) chrome.append_thread(out, thread);
  }

  void append(std::string& out, const TraceRecord& record) {
    switch (format) {
      case TraceFormat::ftrace:
        append_ftrace(out, record);
        return;
      case TraceFormat::json:
        append_json(out, record);
        return;
      case TraceFormat::chrome:
        chrome.append(out, record);
        return;
    }
  }

  void append_ftrace(std::string& out, const TraceRecord& record) const {
    // Nanoseconds are cut off, as the kernel does.
    const std::uint64_t us = record.time_ns / 1000;
    fmt::format_to(std::back_inserter(out), "{:>16}-{:<7} [{:03}] {}{}... {:5}.{:06}: {}: ",
                   printable_name(name_of(record.tid)), record.tid, record.cpu,
                   context_letter(record.context), record.adopted ? 'a' : '.', us / 1'000'000,
                   us % 1'000'000, to_string(record.event));
    append_text_fields(out, record);
    out += '\n';
  }

  void append_json(std::string& out, const TraceRecord& record) const {
    fmt::format_to(std::back_inserter(out),
                   "{{\"event\":\"{}\",\"time_ns\":{},\"thread\":", to_string(record.event),
                   record.time_ns);
    append_json_string(out, name_of(record.tid));
    fmt::format_to(std::back_inserter(out), ",\"tid\":{},\"cpu\":{}", record.tid, record.cpu);
    if (record.event != TraceEvent::iomap_dio_complete)
      fmt::format_to(std::back_inserter(out), ",\"context\":\"{}\"", to_string(record.context));
    out += ',';
    append_json_fields(out, record);
    out += "}\n";
  }

  const TraceFormat format;
  ChromeEvents chrome;
  std::map<std::uint32_t, std::string> names;
  bool begun = false;
};

TraceWriter::TraceWriter(TraceFormat format, std::uint32_t process)
    : impl_(std::make_unique<Impl>(
          format, process != 0 ? process : static_cast<std::uint32_t>(::getpid()))) {}
TraceWriter::~TraceWriter() = default;

std::string TraceWriter::write(const TraceBatch& batch) {
  std::string out;
  impl_->begin(out);
  for (const TraceThread& thread : batch.threads)
    impl_->learn(out, thread);
  for (const TraceRecord& record : batch.records)
    impl_->append(out, record);
  return out;
}

std::string TraceWriter::finish() {
  std::string out;
  impl_->begin(out);
  if (impl_->format == TraceFormat::chrome) impl_->chrome.append_foot(out);
  return out;
}

}  // namespace handback
