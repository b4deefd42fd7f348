// Latencies by logarithm: fixed memory, nothing allocated per sample, quantiles within 1.6 %.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace tool {

class LatencyHistogram {
 public:
  void add(std::uint64_t latency_ns) noexcept {
    ++counts_[index_of(latency_ns)];
    ++count_;
  }

  void add_all(const LatencyHistogram& other) noexcept {
    for (unsigned i = 0; i < counts_.size(); ++i)
      counts_[i] += other.counts_[i];
    count_ += other.count_;
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

  // The lower edge of the bucket that holds the sample at `fraction` (0.5: the median); 0 if there
  // is none.
  [[nodiscard]] std::uint64_t quantile_ns(double fraction) const noexcept {
    const auto rank = static_cast<std::uint64_t>(fraction * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (unsigned i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > rank) return lower_edge(i);
    }
    return 0;
  }

 private:
  static constexpr unsigned sub_bits = 6;
  static constexpr unsigned sub_count = 1U << sub_bits;

  // Below sub_count: itself. Above: which power of two, and which 64th of it.
  static unsigned index_of(std::uint64_t value) noexcept {
    if (value < sub_count) return static_cast<unsigned>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - 1 - sub_bits;
    return (shift + 1) * sub_count + static_cast<unsigned>(value >> shift) - sub_count;
  }

  static std::uint64_t lower_edge(unsigned index) noexcept {
    if (index < sub_count) return index;
    const unsigned shift = index / sub_count - 1;
    return std::uint64_t{index % sub_count + sub_count} << shift;
  }

  std::array<std::uint64_t, (64 - sub_bits + 1) * sub_count> counts_{};
  std::uint64_t count_ = 0;
};

}  // namespace tool
