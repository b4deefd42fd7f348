// handback-hostile: opens damaged images, as many as wanted, and holds each to the rules of
// docs/format.md, "Hostile images".
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "hostile/hostile_run.h"

namespace {

constexpr int exit_violation = 1;
constexpr int exit_usage = 2;
constexpr unsigned image_seconds_max = 20;

volatile std::sig_atomic_t hung = 0;
std::uint64_t current_seed = 0;

// An image that takes this long hangs.
void on_alarm(int /*signal*/) {
  char text[96];
  const int length = std::snprintf(text, sizeof text, "image of seed %llu: hangs\n",
                                   static_cast<unsigned long long>(current_seed));
  if (::write(STDERR_FILENO, text, static_cast<std::size_t>(length)) < 0) hung = 1;
  ::_exit(exit_violation);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Opens damaged images and holds each to the rules", "handback-hostile");
  std::uint64_t images = 10'000;
  std::uint64_t seed = 1;
  bool json = false;
  app.add_option("--images", images, "How many")->capture_default_str();
  app.add_option("--seed", seed, "Of the first; the next has the next")->capture_default_str();
  app.add_flag("--json", json, "Counters as JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }

  std::signal(SIGALRM, on_alarm);
  hostile::HostileRun run;
  std::vector<std::string> violations;
  const auto from = std::chrono::steady_clock::now();
  for (std::uint64_t i = 0; i < images; ++i) {
    current_seed = seed + i;
    if (i % 64 == 0) ::alarm(image_seconds_max);
    const std::string wrong = run.try_image(current_seed);
    if (wrong.empty()) continue;
    violations.push_back("--images 1 --seed " + std::to_string(current_seed) + ": " + wrong);
    std::cerr << violations.back() << '\n';
    if (violations.size() == 10) break;
  }
  ::alarm(0);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();

  const hostile::RunCounters& counters = run.counters();
  if (json) {
    const nlohmann::ordered_json out = {{"program", "handback-hostile"},
                                        {"seed", seed},
                                        {"images", counters.images},
                                        {"opened", counters.opened},
                                        {"refused", counters.refused},
                                        {"violations", violations.size()},
                                        {"found", violations},
                                        {"blocks_read_max", counters.blocks_read_max},
                                        {"allocated_bytes_max", counters.allocated_max},
                                        {"seconds", seconds},
                                        {"reasons", counters.reasons}};
    std::cout << out.dump(2) << '\n';
  } else {
    std::cout << counters.images << " images: " << counters.opened << " opened, "
              << counters.refused << " refused for " << counters.reasons.size() << " reasons, "
              << violations.size() << " violations; " << seconds << " s\n";
  }
  return violations.empty() ? 0 : exit_violation;
}
