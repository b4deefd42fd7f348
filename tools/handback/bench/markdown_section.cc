#include "handback/bench/markdown_section.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "common/failure.h"

namespace tool {

std::string with_section(const std::string& page, std::string_view name, std::string_view text) {
  const std::string begin = fmt::format("<!-- begin {}: written by handback bench -->\n", name);
  const std::string end = fmt::format("<!-- end {} -->\n", name);
  const std::string section = fmt::format("{}{}{}", begin, text, end);
  const std::size_t from = page.find(begin);
  if (from == std::string::npos) {
    return page + (page.empty() || page.ends_with("\n\n") ? "" : "\n") + section;
  }
  const std::size_t until = page.find(end, from);
  if (until == std::string::npos) {
    throw Failure(exit_failed,
                  fmt::format("the section '{}' begins and does not end; put '{}' behind it", name,
                              end.substr(0, end.size() - 1)));
  }
  return page.substr(0, from) + section + page.substr(until + end.size());
}

void write_section(const std::string& path, std::string_view name, std::string_view text) {
  std::string page;
  if (access(path.c_str(), F_OK) == 0) {
    std::ifstream in(path, std::ios::binary);
    page.assign(std::istreambuf_iterator<char>(in), {});
    if (!in) throw failure_of_errno(EIO, path);
  } else {
    page = "# Performance\n";
  }
  const std::string changed = with_section(page, name, text);
  const std::string next = path + ".new";
  errno = 0;
  std::ofstream out(next, std::ios::binary | std::ios::trunc);
  out << changed;
  out.close();
  if (!out || std::rename(next.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(next.c_str());
    throw failure_of_errno(error, path);
  }
}

}  // namespace tool
