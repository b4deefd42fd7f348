// What each event is called and which fields it has, and one event as text or JSON.
#pragma once

#include <handback/trace.h>
#include <string>
#include <string_view>

namespace handback {

// "ino 0x7 size 0x0 offset 0x1000 …": names and order are the kernel's where it has the field.
void append_text_fields(std::string& out, const TraceRecord& record);

// "\"ino\":7,\"offset\":4096,…": the members of an object, without braces; nothing if there are
// none. Hexadecimal addresses are strings, since JSON's readers lose digits of large numbers.
void append_json_fields(std::string& out, const TraceRecord& record);

// As a JSON string, with its quotes. Bytes that are not ASCII become '?'.
void append_json_string(std::string& out, std::string_view text);

// "reads" and "writes" are told apart by this everywhere.
[[nodiscard]] inline bool is_write(const TraceRecord& record) noexcept {
  return has(record.flags, KiocbFlags::write);
}

}  // namespace handback
