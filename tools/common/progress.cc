#include "common/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <utility>

#include "common/text.h"

namespace tool {
namespace {

constexpr std::uint64_t redraw_ns = 100'000'000;
constexpr std::uint64_t rate_window_ns = 500'000'000;
constexpr unsigned bar_width_min = 10;
constexpr unsigned bar_width_max = 40;

unsigned terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string bar(double fraction, unsigned width) {
  const auto filled = static_cast<unsigned>(fraction * width);
  std::string text(filled, '=');
  if (filled < width) text += '>';
  text.resize(width, ' ');
  return text;
}

// A time left is a guess: tenths of a second would only flicker.
std::string whole_seconds(double seconds) {
  if (seconds < 59.5) return fmt::format("{:.0f} s", seconds);
  return human_duration(static_cast<std::uint64_t>(seconds) * 1'000'000'000);
}

}  // namespace

std::uint64_t monotonic_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::string progress_line(const ProgressState& state) {
  const std::uint64_t done = std::min(state.done, state.total);
  const double fraction =
      state.total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(state.total);
  const bool bytes = state.unit == ProgressState::Unit::bytes;
  std::string figures =
      fmt::format(" {:>3.0f} %  {} of {}", fraction * 100, bytes ? human_size(done) : grouped(done),
                  bytes ? human_size(state.total) : grouped(state.total));
  // Runs are few and long: their rate is known at once, and says nothing to people.
  if (state.per_second > 0 && (!bytes || state.per_second >= 1)) {
    if (bytes) {
      figures += fmt::format("  {}/s", human_size(static_cast<std::uint64_t>(state.per_second)));
    }
    figures += fmt::format(
        "  {} left", whole_seconds(static_cast<double>(state.total - done) / state.per_second));
  }
  std::string line = fmt::format("{}  ", state.what);
  // One column stays free: some terminals wrap when the last one is written.
  const std::size_t taken = line.size() + figures.size() + 3;
  if (state.columns > taken + bar_width_min) {
    const auto room = static_cast<unsigned>(state.columns - taken);
    line += fmt::format("[{}]", bar(fraction, std::min(room, bar_width_max)));
  }
  line += figures;
  if (line.size() + 1 > state.columns) line.resize(state.columns > 1 ? state.columns - 1 : 0);
  return line;
}

Progress::Progress(std::string what, Unit unit)
    : what_(std::move(what)),
      unit_(unit),
      enabled_(isatty(STDERR_FILENO) == 1),
      started_ns_(monotonic_ns()) {}

void Progress::update(std::uint64_t done, std::uint64_t total) {
  if (!enabled_) return;
  const std::uint64_t now_ns = monotonic_ns();
  if (now_ns - drawn_ns_ < redraw_ns) return;
  drawn_ns_ = now_ns;
  if (rate_at_ns_ == 0) {
    rate_at_ns_ = started_ns_;
    rate_at_done_ = 0;
  }
  if (now_ns - rate_at_ns_ >= rate_window_ns) {
    const double latest = static_cast<double>(done - rate_at_done_) /
                          (static_cast<double>(now_ns - rate_at_ns_) * 1e-9);
    // Half old, half new: steady enough to read, quick enough to be true.
    per_second_ = per_second_ == 0 ? latest : per_second_ * 0.5 + latest * 0.5;
    rate_at_ns_ = now_ns;
    rate_at_done_ = done;
  }
  const std::string line = progress_line({.what = what_,
                                          .done = done,
                                          .total = total,
                                          .per_second = per_second_,
                                          .unit = unit_,
                                          .columns = terminal_columns()});
  fmt::print(stderr, "\r{}\x1b[K", line);
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace tool
