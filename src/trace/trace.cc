#include <fmt/format.h>

#include <handback/trace.h>

namespace handback {

std::string to_string(const TraceRecord& record) {
  const auto since = [&](std::uint64_t then) {
    return then > record.submitted_ns ? static_cast<double>(then - record.submitted_ns) / 1000.0
                                      : 0.0;
  };
  return fmt::format(
      "ino={} offset={} length={} flags={} route={} reason={} result={} settled_us={:.1f} "
      "delivered_us={:.1f}",
      record.file_id, record.offset, record.length, to_string(record.flags),
      to_string(record.route), to_string(record.reason),
      record.result.ok() ? fmt::format("{}", record.result.bytes()) : describe(record.result),
      since(record.settled_ns), since(record.delivered_ns));
}

}  // namespace handback
