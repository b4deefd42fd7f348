// A second reading of docs/format.md, for damage that knows where it hits: every field of an image,
// and checksums made to fit. Shares no code with the library, so that a mistake in one is none in
// the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hostile {

inline constexpr std::uint64_t block_bytes = 4096;
inline constexpr std::uint64_t header_bytes = 64;

struct Field {
  std::uint64_t at = 0;     // Byte in the image.
  std::uint32_t bytes = 0;  // 1 to 16; of a name its length.
  const char* structure = "";
  const char* name = "";     // As in docs/format.md.
  std::uint64_t sealed = 0;  // Block of the header whose checksum covers it.
};

// All fields of a volume that opens: both superblocks, both roots, the checkpoint in use, the
// records of the log that count, and the checksum page, if there is one that opening looks at.
// Requires: the image is whole.
[[nodiscard]] std::vector<Field> fields_of(std::span<const std::byte> image);

// Makes the checksum fit of the structure whose header lies in `block`. What is none, or has an
// impossible length, stays as it is.
void seal(std::span<std::byte> image, std::uint64_t block);

[[nodiscard]] std::uint64_t number_at(std::span<const std::byte> image, std::uint64_t at,
                                      unsigned bytes = 8);
void put_number(std::span<std::byte> image, std::uint64_t at, std::uint64_t value,
                unsigned bytes = 8);

}  // namespace hostile
