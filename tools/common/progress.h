// One line at the bottom of the terminal that says how far long work is: a bar, rate and time left.
//
// Written only if standard error is a terminal; a log file gets none of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tool {

// What a line of progress shows, apart from terminals and clocks.
struct ProgressState {
  enum class Unit : std::uint8_t { bytes, runs };

  std::string_view what;  // "put"
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  double per_second = 0;  // 0: not known yet.
  Unit unit = Unit::bytes;
  unsigned columns = 80;  // Of the terminal.
};

// "put  [=======>      ]  53 %  1.2 GiB of 2.3 GiB  512 MiB/s  3 s left", or "...  12 of 30  5 s
// left"; never wider than the terminal.
[[nodiscard]] std::string progress_line(const ProgressState& state);

class Progress {
 public:
  using Unit = ProgressState::Unit;

  explicit Progress(std::string what, Unit unit = Unit::bytes);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  // Redraws at most ten times a second.
  void update(std::uint64_t done, std::uint64_t total);
  // Removes the line, so that something else can be printed.
  void clear();

 private:
  const std::string what_;
  const Unit unit_;
  const bool enabled_;
  bool shown_ = false;
  std::uint64_t started_ns_;
  std::uint64_t drawn_ns_ = 0;
  std::uint64_t rate_at_ns_ = 0;
  std::uint64_t rate_at_done_ = 0;
  double per_second_ = 0;
};

[[nodiscard]] std::uint64_t monotonic_ns() noexcept;

}  // namespace tool
