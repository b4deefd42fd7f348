// The whole path once, on real data: an empty file, a volume, a copy that dies, recovery, every
// byte compared.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tool {

struct DemoArguments {
  std::string tree = "/usr/include";
  std::string directory;  // Where the temporary folder is made.
  std::uint64_t generated_bytes = 256U << 20;
  std::optional<std::uint64_t> seed;
  std::string json;  // A file to write the result to, too.
  bool keep = false;
};

// Returns the exit code; throws Failure.
int run_demo(const DemoArguments& arguments);

}  // namespace tool
