// A checkpoint's payload: all metadata as one run of bytes. Pure functions over bytes.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "volume/metadata.h"

namespace handback {

// Exactly metadata.snapshot_bytes() long.
[[nodiscard]] std::vector<std::byte> snapshot_encode(const Metadata& metadata);

// Fills an empty Metadata. Returns what is wrong, with the byte where it was noticed, or an empty
// string. Checks what can be checked entry by entry; that all of it fits together is for the
// loader.
[[nodiscard]] std::string snapshot_decode(std::span<const std::byte> payload, Metadata* metadata);

}  // namespace handback
