// What the check says of a metadata header that is whole: the fields that no reader looks at.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "volume/meta_block.h"

namespace handback {

struct FieldProblem {
  std::string field;
  std::string problem;
};

// The field of the header that a fault is about.
[[nodiscard]] std::string_view field_of(MetaFault fault) noexcept;

// Reserved bytes, numbers that this type does not have, and bytes behind the payload that are not
// zero. `blocks`: all of the structure.
void check_header_fields(std::span<const std::byte> blocks, const MetaHeader& header,
                         std::vector<FieldProblem>* problems);

}  // namespace handback
