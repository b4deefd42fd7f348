// What a fuzz target is made of: a file NAME_fuzz.cc that defines these two. With libFuzzer it
// becomes a fuzzer (libfuzzer_entry.cc); with any compiler a test that tries the seeds and a fixed
// number of changed ones (corpus_main.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fuzz {

using Input = std::vector<std::uint8_t>;

// Aborts if something does not hold.
void run(std::span<const std::uint8_t> input);

// The corpus that a search starts from. The same every time.
std::vector<Input> seeds();

// Takes numbers from an input; zeros behind its end.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> input) : rest_(input) {}
  [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }
  std::uint64_t number(unsigned bytes) noexcept {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < bytes && !rest_.empty(); ++i) {
      value |= std::uint64_t{rest_.front()} << (8 * i);
      rest_ = rest_.subspan(1);
    }
    return value;
  }
  std::span<const std::uint8_t> take(std::size_t count) noexcept {
    const auto taken = rest_.first(count < rest_.size() ? count : rest_.size());
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const std::uint8_t> rest_;
};

}  // namespace fuzz
