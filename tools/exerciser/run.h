// Episode after episode on one device, until so many operations are done or something is wrong.
#pragma once

#include <cstdint>
#include <string>

#include "exerciser/episode.h"

namespace exerciser {

struct RunOptions {
  const DeviceKind* device = nullptr;
  std::uint64_t operations = 10'000;
  // Of the first episode; the next has the next. An episode depends on its seed alone (with two
  // threads, or a device of the host, also on what the machine does).
  std::uint64_t seed = 1;
};

struct RunReport {
  EpisodeCounters counters;
  std::uint64_t episodes = 0;
  double seconds = 0;
  std::string skipped;    // Why the host does not have the device.
  std::string violation;  // What was found, how to do it again, and the last operations.
};
[[nodiscard]] RunReport run_exerciser(const RunOptions& options);

// From now on a hang, or an assertion of the library, also prints what replays it.
void tell_on_signals();

}  // namespace exerciser
