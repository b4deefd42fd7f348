// The program `handback-kill-loops`: kills a writer at random moments, and verifies what is left.
#include <fmt/format.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>

#include "common/failure.h"
#include "common/text.h"
#include "kill_loops/loops.h"
#include "kill_loops/writer.h"

namespace tool::kill_loops {
namespace {

constexpr std::size_t violations_shown_max = 20;

struct Arguments {
  LoopOptions loops;
  bool json = false;
  std::string write;  // Be the writer on this volume.
  int shared_fd = -1;
};

void print_json(const LoopResult& result, const LoopOptions& options) {
  nlohmann::ordered_json acknowledged;
  for (unsigned act = 0; act < act_count; ++act)
    acknowledged[act_names[act]] = result.acknowledged[act];
  const nlohmann::ordered_json json = {{"program", "handback-kill-loops"},
                                       {"seed", options.seed},
                                       {"threads", options.threads},
                                       {"engine", result.engine},
                                       {"unit_bytes", result.unit_bytes},
                                       {"loops", result.loops},
                                       {"killed_at_work", result.killed_at_work},
                                       {"killed_in_recovery", result.killed_in_recovery},
                                       {"recoveries", result.recoveries},
                                       {"records_replayed", result.records_replayed},
                                       {"writes_dropped", result.writes_dropped},
                                       {"units_read", result.units_read},
                                       {"acknowledged", acknowledged},
                                       {"violations", result.violations.size()},
                                       {"seconds", result.seconds}};
  fmt::print("{}\n", json.dump(2));
}

void print_text(const LoopResult& result) {
  fmt::print("{} by {} in {:.1f} s: {} at work, {} in recovery; {} replayed; {} read\n",
             count_of(result.loops, "kill", "kills"), result.engine, result.seconds,
             result.killed_at_work, result.killed_in_recovery,
             count_of(result.records_replayed, "log record", "log records"),
             count_of(result.units_read, "unit", "units"));
  for (unsigned act = 0; act < act_count; ++act)
    fmt::print("{:>12}  {}\n", act_names[act], grouped(result.acknowledged[act]));
}

int report(const LoopResult& result, const Arguments& arguments) {
  if (arguments.json) {
    print_json(result, arguments.loops);
  } else {
    print_text(result);
  }
  for (std::size_t i = 0; i < result.violations.size() && i < violations_shown_max; ++i)
    print_error(fmt::format("loop {}: {}", result.loops, result.violations[i]));
  if (result.violations.empty()) return exit_ok;
  print_error(fmt::format("{} in loop {}; --seed {} begins the same way{}",
                          count_of(result.violations.size(), "violation", "violations"),
                          result.loops, arguments.loops.seed,
                          result.kept.empty() ? "" : "; the volume is " + result.kept));
  return exit_failed;
}

int be_writer(const Arguments& arguments) {
  void* memory = mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED,
                      arguments.shared_fd, 0);
  if (memory == MAP_FAILED) throw Failure(exit_usage, "--shared: is no shared memory");
  return run_writer({.volume = arguments.write,
                     .seed = arguments.loops.seed,
                     .threads = arguments.loops.threads,
                     .engine = arguments.loops.engine,
                     .lies = arguments.loops.lies},
                    *static_cast<SharedState*>(memory));
}

void define(CLI::App& app, Arguments& arguments) {
  LoopOptions& loops = arguments.loops;
  app.add_option("--loops", loops.loops, "How often to kill; default 200")
      ->check(CLI::Range(1, 1'000'000'000))
      ->type_name("N");
  app.add_option("--seed", loops.seed,
                 "Of what is written and when is killed; how far a writer gets by then is the "
                 "machine's")
      ->type_name("S");
  app.add_option("--threads", loops.threads, "Of the writer; default 3")
      ->check(CLI::Range(1U, threads_max))
      ->type_name("N");
  app.add_option("--dir", loops.directory, "Where the volume goes; default $TMPDIR or /tmp")
      ->type_name("DIR");
  app.add_option("--engine", loops.engine, "io_uring or threads; default: as the host allows")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, handback::HostEngine>{{"io_uring", handback::HostEngine::io_uring},
                                                      {"threads", handback::HostEngine::threads}}));
  app.add_flag("--lie", loops.lies,
               "The writer notes acknowledgements that it does not have yet: this must be found");
  app.add_flag("--keep", loops.keep, "Leave the volume there after a violation");
  app.add_flag("--json", arguments.json, "Print the counters as JSON");
  app.add_option("--write", arguments.write)->group("");
  app.add_option("--shared", arguments.shared_fd)->group("");
}

int run(const Arguments& arguments) {
  if (!arguments.write.empty()) return be_writer(arguments);
  Arguments with = arguments;
  if (with.loops.directory.empty()) {
    const char* temporary = std::getenv("TMPDIR");
    with.loops.directory = temporary != nullptr ? temporary : "/tmp";
  }
  return report(run_loops(with.loops), with);
}

}  // namespace
}  // namespace tool::kill_loops

int main(int argc, char** argv) {
  tool::set_program_name("handback-kill-loops");
  tool::kill_loops::Arguments arguments;
  CLI::App app(
      "Kills a process that changes a volume in a host file, at random moments, opens\n"
      "the volume again, and holds it against what the process had been acknowledged:\n"
      "appends, overwrites, truncates, renames, links, replaced and removed files.\n"
      "Exits with 0 if all was kept, 1 if not, 2 for a wrong command line.",
      "handback-kill-loops");
  tool::kill_loops::define(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    tool::print_error(std::string(error.what()) + "; see --help");
    return tool::exit_usage;
  }
  try {
    return tool::kill_loops::run(arguments);
  } catch (const tool::Failure& failure) {
    tool::print_error(failure.what());
    return failure.exit_code();
  } catch (const std::exception& error) {
    tool::print_error(error.what());
    return tool::exit_failed;
  }
}
