// The program's command line: what a command is made of, and how one is run.
#pragma once

#include <handback/host_device.h>
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "common/volume_session.h"

namespace tool {

// Files that hold volumes have whole blocks of this size.
inline constexpr std::uint64_t host_block_bytes = 4096;

// What a command shares with the program around it.
struct Context {
  handback::HostEngine engine = handback::HostEngine::automatic;
  // Set by the command that was named; returns the exit code or throws Failure.
  std::function<int()> action;
  bool parse_only = false;  // The line is looked at, and nothing is done.

  [[nodiscard]] SessionOptions reading() const {
    SessionOptions options;
    options.engine = engine;
    return options;
  }
  [[nodiscard]] SessionOptions writing() const {
    SessionOptions options = reading();
    options.writable = true;
    return options;
  }
};

struct CommandText {
  const char* group;
  const char* name;
  const char* description;
  const char* usage;   // After "handback ".
  const char* footer;  // Details and examples.
};

CLI::App* add_command(CLI::App& parent, const CommandText& text);

// An option or argument that takes a size with a suffix.
CLI::Option* add_size_option(CLI::App& command, const std::string& name, std::uint64_t* size_bytes,
                             const std::string& description);
CLI::Option* add_json_option(CLI::App& command, bool* json);
CLI::Option* add_volume_argument(CLI::App& command, std::string* volume);

// One function a group of commands, each in its own file.
void add_format_command(CLI::App& app, Context& context);
void add_copy_commands(CLI::App& app, Context& context);
void add_cat_command(CLI::App& app, Context& context);
void add_name_commands(CLI::App& app, Context& context);
void add_space_commands(CLI::App& app, Context& context);
void add_grow_command(CLI::App& app, Context& context);
void add_list_commands(CLI::App& app, Context& context);
void add_stat_command(CLI::App& app, Context& context);
void add_check_command(CLI::App& app, Context& context);
void add_volume_commands(CLI::App& app, Context& context);
void add_trace_command(CLI::App& app, Context& context);
void add_bench_command(CLI::App& app, Context& context);

// Parses and runs one command line, without the program's name. Prints errors; returns the exit
// code. `outer` is the context of the command that runs this one, if there is one.
int run_command_line(const std::vector<std::string>& arguments, const Context& outer = {});

}  // namespace tool
