// The file that a benchmark overwrites: in a volume of its own, every block of it written.
#pragma once

#include <handback/volume.h>
#include <cstdint>
#include <memory>

namespace tool {

// Room for a file of that size and the volume around it.
[[nodiscard]] std::uint64_t bench_volume_bytes(std::uint64_t file_bytes);

// Makes the file and writes every block once, durably, so that later writes are pure overwrites.
// Throws Failure.
[[nodiscard]] std::unique_ptr<handback::VolumeFile> make_written_file(handback::Volume& volume,
                                                                      handback::Issuer& issuer,
                                                                      std::uint64_t file_bytes);
// That file, in a volume that was opened again. Throws Failure.
[[nodiscard]] std::unique_ptr<handback::VolumeFile> open_written_file(handback::Volume& volume,
                                                                      handback::Issuer& issuer);

}  // namespace tool
