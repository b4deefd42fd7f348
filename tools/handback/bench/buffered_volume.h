// Buffered and direct reads and writes of a volume's file, through the library.
#pragma once

#include <handback/volume.h>

#include "handback/bench/buffered_load.h"

namespace tool {

enum class Through : std::uint8_t { cache, direct, direct_registered };

// All throw Failure, also when a signal stopped them.

// Brings the first `bytes` of the file into the cache.
void read_into_cache(handback::Issuer& issuer, handback::File& file, std::uint64_t bytes);

// Single buffered reads: submit() and poll(), or the blocking run().
enum class SingleRead : std::uint8_t { submit_and_poll, run };
[[nodiscard]] RunResult read_hits(handback::Issuer& issuer, handback::File& file,
                                  const ReadOrder& order, const RunTimes& times, SingleRead how);

// Random reads, so many in flight on one thread.
[[nodiscard]] RunResult read_at_depth(handback::Issuer& issuer, handback::File& file,
                                      const RandomReads& load, Through through);
// The same buffered reads by as many threads, each with an issuer of its own, that block.
[[nodiscard]] RunResult read_by_threads(handback::File& file, const RandomReads& load);

[[nodiscard]] RunResult read_in_order(handback::Issuer& issuer, handback::File& file,
                                      const InOrder& load, Through through);
// With an fsync after each bytes_per_fsync.
[[nodiscard]] RunResult write_in_order(handback::Issuer& issuer, handback::VolumeFile& file,
                                       const InOrder& load, Through through);

}  // namespace tool
