// CRC32C (Castagnoli), the checksum of every metadata block. It detects accidents, not malice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace handback {

// The usual CRC32C: "123456789" gives 0xe3069283. `seed` continues an earlier call's result.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes,
                                   std::uint32_t seed = 0) noexcept;

}  // namespace handback
