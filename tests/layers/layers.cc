#include "layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace handback::testing {
namespace {

namespace fs = std::filesystem;

struct Room {
  std::set<std::string> may_use;
  std::set<std::string> test_uses;
  std::set<std::string> public_headers;
};
using Rooms = std::map<std::string, Room>;

struct Include {
  std::size_t line = 0;  // One-based.
  bool quoted = false;
  std::string path;
};

// Only the room that makes I/O system calls may see their headers. Tests may: they look at what
// came out.
const std::set<std::string> system_call_headers = {
    "liburing.h", "liburing/io_uring.h", "linux/io_uring.h", "linux/aio_abi.h", "libaio.h"};
constexpr const char* system_call_room = "ring";

std::vector<std::string> read_lines(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    lines.push_back(line);
  return lines;
}

std::string read_text(const fs::path& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

bool is_source(const fs::path& path) {
  return path.extension() == ".h" || path.extension() == ".cc";
}

std::vector<fs::path> sources_below(const fs::path& folder) {
  std::vector<fs::path> paths;
  if (!fs::exists(folder)) return paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && is_source(entry.path())) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string first_component(const std::string& path) {
  return path.substr(0, path.find('/'));
}

std::string join(const std::set<std::string>& names) {
  return names.empty() ? "nothing" : fmt::format("{}", fmt::join(names, " "));
}

class Check {
 public:
  explicit Check(const fs::path& root) : root_(root) {}

  std::vector<std::string> run() {
    read_table();
    read_build();
    compare_table_with_build();
    refuse_cycles();
    find_test_helpers();
    for (const auto& [name, room] : table_)
      check_room(name, room);
    check_public_headers();
    // Outside the rooms only the public headers exist, exactly as for a user.
    for (const char* folder : {"tools", "bench", "examples", "integrations"})
      check_user(folder);
    for (const fs::path& path : sources_below(root_ / "tests")) {
      for (const Include& include : includes(path))
        refuse_dot_dot(path, include);
    }
    return std::move(violations_);
  }

 private:
  void report(const fs::path& path, std::size_t line, std::string_view text) {
    violations_.push_back(fmt::format("{}:{}: {}", fs::relative(path, root_).string(), line, text));
  }

  // | `dio` | `issuer` `block` | what it holds |
  void read_table() {
    const fs::path page = root_ / "docs/ARCHITECTURE.md";
    const std::vector<std::string> lines = read_lines(page);
    static const std::regex row(R"(^\|([^|]*)\|([^|]*)\|.*\|\s*$)");
    static const std::regex name(R"(`([a-z_]+)`)");
    bool inside = false;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (lines[i].starts_with("#")) inside = lines[i] == "## Rooms and arrows";
      std::smatch cells;
      if (!inside || !std::regex_match(lines[i], cells, row)) continue;
      const std::string first = cells[1];
      const std::string second = cells[2];
      std::smatch room;
      if (!std::regex_search(first, room, name)) continue;  // The heading and the ruler.
      Room& entry = table_[room[1]];
      if (!entry.may_use.empty())
        report(page, i + 1, fmt::format("room {} is listed twice", room[1].str()));
      for (std::sregex_iterator it(second.begin(), second.end(), name), end; it != end; ++it) {
        entry.may_use.insert((*it)[1]);
      }
      if (entry.may_use.empty() && second.find('-') == std::string::npos) {
        report(page, i + 1, "the cell `may use` names no room; write - for none");
      }
    }
    if (table_.empty())
      report(page, 1, "there is no table under the heading \"## Rooms and arrows\"");
  }

  // hb_room(NAME dio MAY_USE issuer block PUBLIC_HEADERS iomap.h …)
  void read_build() {
    if (!fs::exists(root_ / "src")) return;
    for (const auto& entry : fs::directory_iterator(root_ / "src")) {
      if (!entry.is_directory()) continue;
      const std::string folder = entry.path().filename();
      const fs::path path = entry.path() / "CMakeLists.txt";
      std::string text = std::regex_replace(read_text(path), std::regex("#[^\n]*"), "");
      std::smatch call;
      if (!std::regex_search(text, call, std::regex(R"(hb_room\s*\(([^)]*)\))"))) {
        report(path, 1, "this folder is no room: there is no hb_room() call");
        continue;
      }
      std::map<std::string, std::set<std::string>> lists;
      std::istringstream words(call[1]);
      std::string keyword;
      for (std::string word; words >> word;) {
        static const std::regex is_keyword("[A-Z]+(_[A-Z]+)*");
        if (std::regex_match(word, is_keyword)) {
          keyword = word;
        } else {
          lists[keyword].insert(word);
        }
      }
      if (lists["NAME"] != std::set<std::string>{folder}) {
        report(path, 1, fmt::format("the room's NAME must be the folder's, {}", folder));
      }
      built_[folder] = Room{lists["MAY_USE"], lists["TEST_USES"], lists["PUBLIC_HEADERS"]};
      for (const std::string& header : lists["PUBLIC_HEADERS"])
        header_room_[header] = folder;
    }
  }

  void compare_table_with_build() {
    const fs::path page = root_ / "docs/ARCHITECTURE.md";
    for (const auto& [name, room] : table_) {
      const auto built = built_.find(name);
      if (built == built_.end()) {
        report(page, 1, fmt::format("the table lists {}, but there is no room src/{}", name, name));
      } else if (built->second.may_use != room.may_use) {
        report(root_ / "src" / name / "CMakeLists.txt", 1,
               fmt::format("MAY_USE says {}, the table says {}", join(built->second.may_use),
                           join(room.may_use)));
      }
      for (const std::string& used : room.may_use) {
        if (!table_.contains(used)) {
          report(page, 1, fmt::format("{} may use {}, which is not in the table", name, used));
        }
      }
    }
    for (const auto& [name, room] : built_) {
      if (!table_.contains(name)) {
        report(page, 1, fmt::format("the room src/{} is missing from the table", name));
      }
    }
  }

  // Arrows point down, so no room may reach itself.
  void refuse_cycles() {
    for (const auto& [name, room] : table_) {
      std::set<std::string> reached;
      std::vector<std::string> open(room.may_use.begin(), room.may_use.end());
      while (!open.empty()) {
        const std::string next = open.back();
        open.pop_back();
        if (!reached.insert(next).second) continue;
        const auto found = table_.find(next);
        if (found == table_.end()) continue;
        open.insert(open.end(), found->second.may_use.begin(), found->second.may_use.end());
      }
      if (reached.contains(name)) {
        report(root_ / "docs/ARCHITECTURE.md", 1,
               fmt::format("the arrows lead from {} back to itself", name));
      }
    }
  }

  std::vector<Include> includes(const fs::path& path) {
    static const std::regex directive(R"(^\s*#\s*include\b\s*(.*)$)");
    static const std::regex target(R"(^(?:"([^"]+)\"|<([^>]+)>).*$)");
    std::vector<Include> found;
    const std::vector<std::string> lines = read_lines(path);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      std::smatch match;
      if (!std::regex_match(lines[i], match, directive)) continue;
      const std::string rest = match[1];
      std::smatch name;
      if (!std::regex_match(rest, name, target)) {
        report(path, i + 1, "an include whose name is a macro cannot be checked");
        continue;
      }
      found.push_back({i + 1, name[1].matched, name[1].matched ? name[1] : name[2]});
    }
    return found;
  }

  // True if the path is one that no rule can follow.
  bool refuse_dot_dot(const fs::path& path, const Include& include) {
    for (const fs::path& part : fs::path(include.path)) {
      if (part == ".." || part == ".") {
        report(path, include.line, fmt::format("\"{}\" goes around the rooms", include.path));
        return true;
      }
    }
    if (fs::path(include.path).is_absolute()) {
      report(path, include.line, fmt::format("\"{}\" is absolute", include.path));
      return true;
    }
    return false;
  }

  // Which room a file must be allowed to use for this include; empty if it concerns no room.
  // `handback` stands for the header that belongs to all of them.
  std::string included_room(const fs::path& path, const Include& include) {
    const std::string first = first_component(include.path);
    if (first == "handback") {
      const std::string header = include.path.substr(first.size() + 1);
      if (header == "handback.h") return "handback";
      const auto found = header_room_.find(header);
      if (found != header_room_.end()) return found->second;
      report(path, include.line, fmt::format("<{}> belongs to no room", include.path));
      return "";
    }
    return built_.contains(first) && first != include.path ? first : "";
  }

  static bool is_test(const fs::path& path) { return path.stem().string().ends_with("_test"); }

  // A header that only tests include, themselves or through another such header, is part of the
  // tests. One that nobody includes is not: it is bound by the stricter rule.
  void find_test_helpers() {
    std::set<fs::path> by_room, by_test;
    for (const fs::path& path : sources_below(root_ / "src")) {
      if (path.extension() == ".cc") reach(path, is_test(path) ? by_test : by_room);
    }
    for (const fs::path& path : by_test) {
      if (!by_room.contains(path)) test_helpers_.insert(path);
    }
  }

  void reach(const fs::path& path, std::set<fs::path>& reached) {
    static const std::regex quoted(R"-(^\s*#\s*include\s*"([^"]+)".*$)-");
    for (const std::string& line : read_lines(path)) {
      std::smatch match;
      if (!std::regex_match(line, match, quoted)) continue;
      const fs::path header = root_ / "src" / match[1].str();
      if (fs::exists(header) && reached.insert(header).second) reach(header, reached);
    }
  }

  void check_room(const std::string& name, const Room& room) {
    for (const fs::path& path : sources_below(root_ / "src" / name)) {
      const bool of_tests = is_test(path) || test_helpers_.contains(path);
      std::set<std::string> allowed = room.may_use;
      allowed.insert(name);
      if (of_tests) allowed.insert(built_[name].test_uses.begin(), built_[name].test_uses.end());
      for (const Include& include : includes(path)) {
        if (refuse_dot_dot(path, include)) continue;
        const std::string used = included_room(path, include);
        if (!used.empty() && !allowed.contains(used)) {
          report(path, include.line,
                 fmt::format("{} may not use {} ({})", name, used, include.path));
        } else if (used.empty() && include.quoted) {
          report(path, include.line,
                 fmt::format("write \"{}\" with its room in front: \"{}/{}\"", include.path, name,
                             include.path));
        }
        if (system_call_headers.contains(include.path) && name != system_call_room && !of_tests) {
          report(path, include.line,
                 fmt::format("only {} makes I/O system calls; {} may not include <{}>",
                             system_call_room, name, include.path));
        }
      }
    }
  }

  // A public header is part of its room, and is bound by the room's arrows.
  void check_public_headers() {
    for (const fs::path& path : sources_below(root_ / "include/handback")) {
      const std::string header = path.filename();
      if (header == "handback.h") continue;
      const auto owner = header_room_.find(header);
      if (owner == header_room_.end()) {
        report(path, 1, "this header is in no room's PUBLIC_HEADERS");
        continue;
      }
      for (const Include& include : includes(path)) {
        if (refuse_dot_dot(path, include)) continue;
        if (include.quoted) {
          report(path, include.line, "a public header includes others as <handback/...>");
          continue;
        }
        const std::string used = included_room(path, include);
        if (!used.empty() && used != owner->second &&
            !table_[owner->second].may_use.contains(used)) {
          report(path, include.line,
                 fmt::format("{} may not use {} ({})", owner->second, used, include.path));
        }
      }
    }
  }

  void check_user(const std::string& folder) {
    for (const fs::path& path : sources_below(root_ / folder)) {
      for (const Include& include : includes(path)) {
        if (refuse_dot_dot(path, include)) continue;
        if (include.quoted) {
          bool own = false;
          for (fs::path from = path.parent_path(); !own && from != root_;
               from = from.parent_path()) {
            own = fs::exists(from / include.path);
          }
          own =
              own || (first_component(include.path) == folder && fs::exists(root_ / include.path));
          if (!own) {
            report(path, include.line,
                   fmt::format("\"{}\" is no file of {}, which may use its own and <handback/...>",
                               include.path, folder));
          }
        } else if (const std::string first = first_component(include.path);
                   built_.contains(first) && first != include.path) {
          report(path, include.line,
                 fmt::format("{} may not use {} ({})", folder, first, include.path));
        } else {
          included_room(path, include);  // Reports a <handback/...> that does not exist.
        }
      }
    }
  }

  const fs::path root_;
  Rooms table_;  // As docs/ARCHITECTURE.md says.
  Rooms built_;  // As src/*/CMakeLists.txt say.
  std::map<std::string, std::string> header_room_;
  std::set<fs::path> test_helpers_;
  std::vector<std::string> violations_;
};

}  // namespace

std::vector<std::string> check_layers(const std::filesystem::path& root) {
  return Check(root).run();
}

}  // namespace handback::testing
