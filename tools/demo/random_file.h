// Content that no file system can guess, and that a seed brings back.
#pragma once

#include <cstdint>
#include <string>

namespace tool {

// SplitMix64: the same numbers on every machine.
class SeededNumbers {
 public:
  explicit SeededNumbers(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() noexcept {
    std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15U;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebU;
    return mixed ^ mixed >> 31;
  }

  // From 0 to 1, without 1.
  double next_fraction() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

// Seeds that differ from run to run.
[[nodiscard]] std::uint64_t fresh_seed();

// Throws Failure; also when a signal says stop.
void write_random_file(const std::string& path, std::uint64_t size_bytes, std::uint64_t seed);

}  // namespace tool
