// Host files made for a benchmark, and removed after it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tool {

class BenchFiles {
 public:
  BenchFiles() = default;
  BenchFiles(const BenchFiles&) = delete;
  BenchFiles& operator=(const BenchFiles&) = delete;
  ~BenchFiles();

  // A new folder in `parent`, removed with the files. Throws Failure.
  std::string make_folder(const std::string& parent);

  // Writes a new file of zeros. Only what was made here is ever written to: fails if the path
  // exists. Throws Failure, also when a signal stopped it.
  void create(const std::string& path, std::uint64_t size_bytes);

 private:
  std::vector<std::string> folders_;
  std::vector<std::string> files_;
};

// Throws Failure if a signal asked the program to stop.
void stop_bench_if_interrupted();

}  // namespace tool
