#include "exerciser/shadow.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace exerciser {
namespace {

bool overlap(const Effect& a, const Effect& b) {
  return a.offset < b.end() && b.offset < a.end();
}

// Marks in `fine` the bytes of `found` that are what `effect` would have left.
void paint(const Effect& effect, std::uint64_t offset, std::span<const std::byte> found,
           std::vector<std::uint8_t>& fine) {
  const std::uint64_t from = std::max(effect.offset, offset);
  const std::uint64_t to = std::min(effect.end(), offset + found.size());
  if (from >= to) return;
  const std::byte* have = found.data() + (from - offset);
  std::uint8_t* mark = fine.data() + (from - offset);
  if (effect.data == nullptr) {
    for (std::uint64_t i = 0; i < to - from; ++i)
      mark[i] |= static_cast<std::uint8_t>(have[i] == std::byte{0});
    return;
  }
  const std::byte* want = effect.data + (from - effect.offset);
  for (std::uint64_t i = 0; i < to - from; ++i)
    mark[i] |= static_cast<std::uint8_t>(have[i] == want[i]);
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  char digits[4];
  for (const std::byte byte : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(byte));
    text += digits;
  }
  return text;
}

}  // namespace

bool Effects::ambiguous() const {
  if (cut && (!cut_certain || !list.empty())) return true;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i].certain) return true;
    for (std::size_t j = 0; j < i; ++j) {
      if (overlap(list[i], list[j])) return true;
    }
  }
  return false;
}

void Shadow::apply(const Effects& effects) {
  if (effects.cut) bytes.resize(*effects.cut);
  for (const Effect& effect : effects.list) {
    // Zeroing leaves the size as it is.
    std::uint64_t end = effect.end();
    if (effect.data == nullptr) {
      end = std::min<std::uint64_t>(end, bytes.size());
      if (effect.offset >= end) continue;
      std::memset(bytes.data() + effect.offset, 0, end - effect.offset);
      continue;
    }
    if (end > bytes.size()) bytes.resize(end);
    std::memcpy(bytes.data() + effect.offset, effect.data, effect.length);
  }
}

void Shadow::check(std::uint64_t offset, std::span<const std::byte> found, const Effects& effects,
                   bool during, const char* what) const {
  if (found.empty()) return;
  const std::uint64_t end = offset + found.size();
  const std::uint64_t old_end = std::min<std::uint64_t>(end, bytes.size());
  if (offset < old_end && effects.empty()) {
    if (old_end == end && std::memcmp(found.data(), bytes.data() + offset, found.size()) == 0)
      return;
  }
  std::vector<std::uint8_t> fine(found.size());
  if (offset < old_end) {
    const std::byte* old = bytes.data() + offset;
    for (std::uint64_t i = 0; i < old_end - offset; ++i)
      fine[i] = static_cast<std::uint8_t>(found[i] == old[i]);
  }
  // Behind the old end: a gap.
  for (std::uint64_t at = std::max(offset, old_end); at < end; ++at)
    fine[at - offset] = static_cast<std::uint8_t>(found[at - offset] == std::byte{0});
  if (!during) {
    // What was there before is certainly over.
    for (const Effect& effect : effects.list) {
      if (!effect.certain) continue;
      const std::uint64_t from = std::max(effect.offset, offset);
      const std::uint64_t to = std::min(effect.end(), end);
      if (from < to) std::memset(fine.data() + (from - offset), 0, to - from);
    }
    if (effects.cut && effects.cut_certain && *effects.cut < end) {
      const std::uint64_t from = std::max(*effects.cut, offset);
      std::memset(fine.data() + (from - offset), 0, end - from);
    }
  }
  for (const Effect& effect : effects.list)
    paint(effect, offset, found, fine);
  if (effects.cut) {
    for (std::uint64_t at = std::max(*effects.cut, offset); at < end; ++at)
      fine[at - offset] |= static_cast<std::uint8_t>(found[at - offset] == std::byte{0});
  }
  const void* wrong = std::memchr(fine.data(), 0, fine.size());
  if (wrong != nullptr) {
    const auto first =
        static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(wrong) - fine.data());
    std::uint64_t count = 0;
    std::uint64_t last = first;
    for (std::uint64_t i = first; i < fine.size(); ++i) {
      if (fine[i] != 0) continue;
      ++count;
      last = i;
    }
    std::string were = "nothing (behind the end)";
    if (offset + first < bytes.size())
      were = hex(std::span(bytes).subspan(
          offset + first, std::min<std::uint64_t>(16, bytes.size() - offset - first)));
    char text[400];
    std::snprintf(
        text, sizeof text,
        "%s of [%llu, %llu): %llu bytes from %llu to %llu are none that may be there: "
        "%s; before that: %s; the file had %llu bytes, and %zu changes were under way",
        what, static_cast<unsigned long long>(offset), static_cast<unsigned long long>(end),
        static_cast<unsigned long long>(count), static_cast<unsigned long long>(offset + first),
        static_cast<unsigned long long>(offset + last),
        hex(found.subspan(first, std::min<std::uint64_t>(16, found.size() - first))).c_str(),
        were.c_str(), static_cast<unsigned long long>(bytes.size()),
        effects.list.size() + (effects.cut ? 1 : 0));
    throw Violation{text};
  }
  if (during || effects.cut) return;
  // Of two that exclude each other one lies over the other, where no third one is.
  for (const Effect& a : effects.list) {
    for (const Effect& b : effects.list) {
      if (&a >= &b || !a.certain || !b.certain || !(a.excludes || b.excludes) || !overlap(a, b))
        continue;
      const std::uint64_t from = std::max({a.offset, b.offset, offset});
      const std::uint64_t to = std::min({a.end(), b.end(), end});
      bool is_a = true;
      bool is_b = true;
      for (std::uint64_t at = from; at < to; ++at) {
        const bool third =
            std::any_of(effects.list.begin(), effects.list.end(), [&](const Effect& other) {
              return &other != &a && &other != &b && other.offset <= at && at < other.end();
            });
        if (third) continue;
        is_a &= found[at - offset] == a.at(at);
        is_b &= found[at - offset] == b.at(at);
      }
      if (is_a || is_b) continue;
      char text[200];
      std::snprintf(
          text, sizeof text,
          "%s: the writes [%llu, %llu) and [%llu, %llu) are mixed where they overlap", what,
          static_cast<unsigned long long>(a.offset), static_cast<unsigned long long>(a.end()),
          static_cast<unsigned long long>(b.offset), static_cast<unsigned long long>(b.end()));
      throw Violation{text};
    }
  }
}

void Shadow::settle(std::uint64_t offset, std::span<const std::byte> found) {
  if (found.empty()) return;
  if (offset + found.size() > bytes.size()) bytes.resize(offset + found.size());
  std::memcpy(bytes.data() + offset, found.data(), found.size());
}

// --- History ---

void History::begin(const Shadow& now) {
  durable_ = now.bytes;
  entries_.clear();
  bytes_ = 0;
  size_min_ = size_max_ = durable_.size();
  promised_until_ = ~std::size_t{0};
  valid_ = true;
}

void History::add(const Effects& effects, std::uint64_t size_before, std::uint64_t size_after) {
  if (!valid_) return;
  std::uint64_t end_max = std::max(size_before, size_after);
  for (const Effect& effect : effects.list) {
    const bool alone = std::none_of(
        effects.list.begin(), effects.list.end(),
        [&](const Effect& other) { return &other != &effect && overlap(other, effect); });
    Entry entry{.offset = effect.offset,
                .length = effect.length,
                .data = {},
                .size_after = size_after,
                .durable = effect.durable && effect.certain && alone && !effects.cut,
                .cut = false};
    if (effect.data != nullptr) {
      entry.data.assign(effect.data, effect.data + effect.length);
      end_max = std::max(end_max, effect.end());
    }
    bytes_ += effect.length;
    entries_.push_back(std::move(entry));
  }
  if (effects.cut) {
    size_min_ = std::min(size_min_, *effects.cut);
    end_max = std::max(end_max, *effects.cut);
    entries_.push_back({.offset = *effects.cut,
                        .length = ~std::uint64_t{0} - *effects.cut,
                        .data = {},
                        .size_after = *effects.cut,
                        .durable = false,
                        .cut = true});
  }
  size_max_ = std::max(size_max_, end_max);
  size_min_ = std::min(size_min_, size_after);
}

void History::check(std::span<const std::byte> found, const char* what) const {
  char text[300];
  // What was promised ends no file early, unless it was cut later.
  std::uint64_t size_least = size_min_;
  std::uint64_t cut_later = ~std::uint64_t{0};
  for (std::size_t i = entries_.size(); i-- > 0;) {
    const Entry& entry = entries_[i];
    if (entry.cut) cut_later = std::min(cut_later, entry.offset);
    if (entry.durable && i < promised_until_ && entry.size_after >= entry.offset + entry.length)
      size_least = std::max(size_least, std::min(entry.offset + entry.length, cut_later));
  }
  if (found.size() < size_least || found.size() > size_max_) {
    std::snprintf(text, sizeof text, "%s: the file has %zu bytes and may have %llu to %llu", what,
                  found.size(), static_cast<unsigned long long>(size_least),
                  static_cast<unsigned long long>(size_max_));
    throw Violation{text};
  }
  // 0: nothing fits so far, 1: it fits, 2: nothing older can.
  std::vector<std::uint8_t> fine(found.size());
  for (std::size_t i = entries_.size(); i-- > 0;) {
    const Entry& entry = entries_[i];
    const std::uint64_t to =
        entry.length > found.size()
            ? found.size()
            : std::min<std::uint64_t>(entry.offset + entry.length, found.size());
    const bool promised = entry.durable && i < promised_until_;
    for (std::uint64_t at = entry.offset; at < to; ++at) {
      const std::byte want = entry.data.empty() ? std::byte{0} : entry.data[at - entry.offset];
      if (fine[at] == 0 && found[at] == want) fine[at] = 1;
      if (fine[at] == 0 && promised) fine[at] = 2;
    }
  }
  for (std::uint64_t at = 0; at < found.size(); ++at) {
    if (fine[at] == 1) continue;
    if (fine[at] == 0 && at < durable_.size() && found[at] == durable_[at]) continue;
    if (fine[at] == 0 && at >= durable_.size() && found[at] == std::byte{0}) continue;
    std::uint64_t wrong = 0;
    for (std::uint64_t other = at; other < found.size(); ++other) {
      const bool fits =
          fine[other] == 1 ||
          (fine[other] == 0 &&
           found[other] == (other < durable_.size() ? durable_[other] : std::byte{0}));
      wrong += fits ? 0 : 1;
    }
    std::snprintf(
        text, sizeof text,
        "%s: byte %llu is %s; %s; durable was %s; %llu bytes are wrong, the file has %zu "
        "bytes, durable were %zu, changes since: %zu",
        what, static_cast<unsigned long long>(at),
        hex(found.subspan(at, std::min<std::uint64_t>(16, found.size() - at))).c_str(),
        fine[at] == 2 ? "a DSYNC write of it has ended" : "nothing has written that",
        at < durable_.size() ? hex(std::span(durable_).subspan(
                                       at, std::min<std::uint64_t>(16, durable_.size() - at)))
                                   .c_str()
                             : "nothing",
        static_cast<unsigned long long>(wrong), found.size(), durable_.size(), entries_.size());
    throw Violation{text};
  }
}

}  // namespace exerciser
