// The program's command line: parsed, not carried out. Input: the arguments, with a NUL behind
// each.
#include <cstdio>

#include "fuzz/target.h"
#include "handback/command_line.h"

namespace fuzz {

void run(std::span<const std::uint8_t> input) {
  // What is wrong is said on standard error, help on standard output, a million times.
  [[maybe_unused]] static const bool quiet = std::freopen("/dev/null", "w", stdout) != nullptr;
  std::vector<std::string> arguments(1);
  for (const std::uint8_t byte : input.first(std::min<std::size_t>(input.size(), 512))) {
    if (byte == 0) {
      arguments.emplace_back();
    } else {
      arguments.back() += static_cast<char>(byte);
    }
  }
  tool::Context context;
  context.parse_only = true;
  static_cast<void>(tool::run_command_line(arguments, context));
}

std::vector<Input> seeds() {
  std::vector<Input> list;
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"--help"},
           {"--version"},
           {"--engine", "threads", "ls", "-lR", "v"},
           {"format", "v", "--size", "1.5G", "--label", "x", "--force"},
           {"put", "v", "a", "b", "/c"},
           {"get", "v", "/a", "b"},
           {"cat", "v", "/a", "--offset", "4K", "--length", "1M"},
           {"ls", "v", "--json"},
           {"stat", "v", "/a"},
           {"mkdir", "-p", "v", "/a/b"},
           {"rm", "-r", "v", "/a"},
           {"mv", "v", "/a", "/b"},
           {"ln", "v", "/a", "/b"},
           {"df", "v", "--json"},
           {"check", "v", "--repair", "--dry-run"},
           {"check", "v", "--repair", "--yes", "--json"},
           {"trace", "--format", "chrome", "ls", "v"},
           {"bench", "overwrite", "--depth", "16"},
           {"bench", "completions", "--seconds", "0.1"}}) {
    Input input;
    for (const std::string& argument : arguments) {
      if (!input.empty()) input.push_back(0);
      input.insert(input.end(), argument.begin(), argument.end());
    }
    list.push_back(std::move(input));
  }
  return list;
}

}  // namespace fuzz
