// What a file is to hold, in memory, and what may be found in it while several requests were under
// way at once, after a request that failed, and after a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace exerciser {

// Something was found that may not be. Ends the episode.
struct Violation {
  std::string what;
};

// One write, or zeroing, of those under way at the same time.
struct Effect {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  const std::byte* data = nullptr;  // Null: zeros.
  bool certain = true;              // It has happened; else it may have, byte for byte.
  // All of it lies over all of each other one that excludes, or under it.
  bool excludes = false;
  bool durable = false;  // DSYNC, acknowledged.

  [[nodiscard]] std::uint64_t end() const { return offset + length; }
  [[nodiscard]] std::byte at(std::uint64_t byte) const {
    return data == nullptr ? std::byte{0} : data[byte - offset];
  }
};

// Everything that was under way together.
struct Effects {
  std::vector<Effect> list;
  // A truncation among them: what lay behind it is gone, or if it is not certain, may be.
  std::optional<std::uint64_t> cut;
  bool cut_certain = true;

  [[nodiscard]] bool empty() const { return list.empty() && !cut; }
  // Their order matters, or whether they happened.
  [[nodiscard]] bool ambiguous() const;
};

class Shadow {
 public:
  std::vector<std::byte> bytes;  // The file; its size is the file's.

  [[nodiscard]] std::uint64_t size() const { return bytes.size(); }
  void resize(std::uint64_t to) { bytes.resize(to); }

  // Effects that are not ambiguous have happened.
  void apply(const Effects& effects);
  // `found`, at `offset`, was read while (`during`) or after all effects were under way; the file
  // has not been changed here yet. Throws a Violation.
  void check(std::uint64_t offset, std::span<const std::byte> found, const Effects& effects,
             bool during, const char* what) const;
  // What is read here from now on is `found`.
  void settle(std::uint64_t offset, std::span<const std::byte> found);
};

// What a file must or may hold after a crash, from the last moment at which all of it was durable.
class History {
 public:
  // All that the file holds is durable.
  void begin(const Shadow& now);
  void stop() { valid_ = false; }
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  // Effects, and the file's size before and after. `all_uncertain`: the crash comes while they are
  // under way.
  void add(const Effects& effects, std::uint64_t size_before, std::uint64_t size_after);
  void forget_promises_of(std::size_t entries_from) { promised_until_ = entries_from; }
  [[nodiscard]] std::size_t entries() const { return entries_.size(); }
  // Throws a Violation.
  void check(std::span<const std::byte> found, const char* what) const;

 private:
  struct Entry {
    std::uint64_t offset;
    std::uint64_t length;
    std::vector<std::byte> data;  // Empty: zeros.
    std::uint64_t size_after;
    bool durable;
    bool cut;
  };
  bool valid_ = false;
  std::vector<std::byte> durable_;
  std::vector<Entry> entries_;
  std::uint64_t bytes_ = 0;
  std::uint64_t size_max_ = 0;
  std::uint64_t size_min_ = 0;
  std::size_t promised_until_ = ~std::size_t{0};
};

}  // namespace exerciser
