#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "sim/sim_commands.h"

namespace sim_program {
namespace {

using nlohmann::json;

struct Child {
  pid_t pid = -1;
  int from = -1;
};

Child start(const std::function<json(unsigned)>& run, unsigned share) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    return {};
  }
  if (pid == 0) {
    ::close(ends[0]);
    const std::string text = run(share).dump();
    std::size_t written = 0;
    while (written < text.size()) {
      const ssize_t now = ::write(ends[1], text.data() + written, text.size() - written);
      if (now < 0 && errno == EINTR) continue;
      if (now <= 0) ::_exit(3);
      written += static_cast<std::size_t>(now);
    }
    ::close(ends[1]);
    ::_exit(0);
  }
  ::close(ends[1]);
  return {pid, ends[0]};
}

json collect(const Child& child, unsigned share) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t now = ::read(child.from, buffer, sizeof buffer);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) break;
    text.append(buffer, static_cast<std::size_t>(now));
  }
  ::close(child.from);
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  json result = json::parse(text, nullptr, false);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !result.is_discarded()) return result;
  const std::string how = WIFSIGNALED(status)
                              ? fmt::format("died of signal {}", WTERMSIG(status))
                              : fmt::format("ended with status {}", WEXITSTATUS(status));
  return {
      {"found", json::array({{{"where", fmt::format("job {}", share)},
                              {"problem", "the process " + how + "; its last words are above"}}})}};
}

void add(json& sum, const json& part) {
  for (const auto& [key, value] : part.items()) {
    if (!sum.contains(key)) {
      sum[key] = value;
    } else if (value.is_array()) {
      for (const json& element : value)
        sum[key].push_back(element);
    } else if (key.ends_with("_max") || key == "deepest") {
      sum[key] = std::max(sum[key].get<std::uint64_t>(), value.get<std::uint64_t>());
    } else if (value.is_number_unsigned()) {
      sum[key] = sum[key].get<std::uint64_t>() + value.get<std::uint64_t>();
    }
  }
}

}  // namespace

json found_json(const std::vector<handback::sim::Violation>& violations) {
  json list = json::array();
  for (const auto& violation : violations)
    list.push_back({{"where", violation.where}, {"problem", violation.problem}});
  return list;
}

json run_shares(unsigned jobs, const std::function<json(unsigned share)>& run) {
  std::vector<Child> children;
  for (unsigned share = 0; share < jobs; ++share)
    children.push_back(start(run, share));
  json sum;
  for (unsigned share = 0; share < jobs; ++share) {
    // Without a process of its own, here.
    add(sum, children[share].pid < 0 ? run(share) : collect(children[share], share));
  }
  return sum;
}

void finish(json& sum, std::chrono::steady_clock::time_point started) {
  sum["violations"] = sum.contains("found") ? sum["found"].size() : 0;
  sum["seconds"] =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

int end(const json& sum, const Output& /*output*/, const std::string& replay) {
  if (!sum.contains("found") || sum["found"].empty()) return exit_ok;
  for (const json& violation : sum["found"]) {
    fmt::print(stderr, "violation: {}\n{}\nreplay: {} {}\n", violation["where"].get<std::string>(),
               violation["problem"].get<std::string>(), replay,
               violation["where"].get<std::string>());
  }
  return exit_violation;
}

}  // namespace sim_program
