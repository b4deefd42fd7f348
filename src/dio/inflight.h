// The inside of DioInflight: its table of ranges, for the engine and for rooms above.
#pragma once

#include "dio/range_table.h"

namespace handback {

struct DioInflight::Impl : RangeTable<HostConcurrency> {
  // For tests of what went wrong elsewhere.
  [[nodiscard]] bool stands_in_line(const RangeEntry& entry) noexcept;
  [[nodiscard]] bool anyone_in_line() noexcept;
};

// For rooms above that put entries of their own into the table.
[[nodiscard]] DioInflight::Impl& dio_inflight_impl(DioInflight& inflight) noexcept;

}  // namespace handback
