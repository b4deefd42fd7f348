#include "sim/crash_window.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "sim/pattern.h"
#include "sim/sim_random.h"

namespace handback::sim {
namespace {

std::uint64_t hash_of(std::uint64_t sector, const std::byte* bytes) noexcept {
  std::uint64_t hash = sector * 0x9e3779b97f4a7c15ULL + 1;
  for (std::size_t i = 0; i < sector_bytes; i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i, sizeof word);
    hash = (std::rotl(hash, 23) ^ word) * 0xff51afd7ed558ccdULL;
  }
  return mix(hash);
}

}  // namespace

std::size_t CrashImage::damage() const noexcept {
  return open_writes - survivors.size() + (torn ? 1 : 0);
}

std::string to_string(const CrashImage& image, const SimRecord& record) {
  std::string text = fmt::format(
      "power cut at moment {}, {} writes open:", image.moment - record.begun, image.open_writes);
  for (const RecordedWrite& write : record.writes) {
    if (write.submitted > image.moment || write.durable <= image.moment || write.length == 0)
      continue;
    const auto index = static_cast<std::uint32_t>(&write - record.writes.data());
    const auto found =
        std::find_if(image.survivors.begin(), image.survivors.end(),
                     [&](const Survival& survival) { return survival.write == index; });
    text += fmt::format("\n    write {} of {} bytes at block {}.{}{}: ", index, write.length,
                        write.addr / 4096, write.addr % 4096 / 512, write.fua ? " fua" : "");
    if (found == image.survivors.end()) {
      text += "lost";
    } else if (found->from == 0 && found->to == write.length) {
      text += "whole";
    } else {
      text += fmt::format("bytes {} to {} only", found->from, found->to);
    }
  }
  return text;
}

CrashWindows::CrashWindows(SimDevice& device, const SimRecord& record)
    : device_(device), record_(record), moment_(record.begun) {
  for (std::uint32_t i = 0; i < record.writes.size(); ++i) {
    if (record.writes[i].durable != never && record.writes[i].length != 0) by_durable_.push_back(i);
  }
  // What one flush covers became durable together, and lies there as it ended.
  std::sort(by_durable_.begin(), by_durable_.end(), [&](std::uint32_t a, std::uint32_t b) {
    const RecordedWrite& left = record.writes[a];
    const RecordedWrite& right = record.writes[b];
    return left.durable != right.durable ? left.durable < right.durable : left.ended < right.ended;
  });
  device_.mark();
}

CrashWindows::~CrashWindows() {
  device_.rollback();
  // As of that moment.
  durable_count_ = last_durable_count_;
  for (const Survival& part : last_)
    put(part);
}

void CrashWindows::end_with(const CrashImage& image) {
  last_.clear();
  last_durable_count_ = durable_count_;
  for (std::size_t i = 0; i < durable_count_; ++i)
    last_.push_back({by_durable_[i], 0, record_.writes[by_durable_[i]].length});
  last_.insert(last_.end(), image.survivors.begin(), image.survivors.end());
}

std::span<const std::byte> CrashWindows::bytes_of(const Survival& part) const {
  const RecordedWrite& write = record_.writes[part.write];
  return std::span<const std::byte>(record_.bytes)
      .subspan(write.data + part.from, part.to - part.from);
}

// Of a write that lay in the cache, what a later one has replaced is gone: that one was durable
// first, through the cache, and stays on top.
void CrashWindows::put(const Survival& part) {
  const RecordedWrite& write = record_.writes[part.write];
  const std::uint64_t from = write.addr + part.from;
  const std::uint64_t to = write.addr + part.to;
  device_.poke(from, bytes_of(part));
  for (std::size_t i = 0; i < durable_count_; ++i) {
    const RecordedWrite& other = record_.writes[by_durable_[i]];
    if (other.submitted <= write.ended || other.addr >= to || other.addr + other.length <= from)
      continue;
    const std::uint64_t first = std::max(from, other.addr);
    const std::uint64_t last = std::min(to, other.addr + other.length);
    device_.poke(first, bytes_of({by_durable_[i], static_cast<std::uint32_t>(first - other.addr),
                                  static_cast<std::uint32_t>(last - other.addr)}));
  }
}

// Over whole sectors, since that is what the hash is made of.
std::uint64_t CrashWindows::apply_hashed(const Survival& part) {
  const std::uint64_t addr = record_.writes[part.write].addr + part.from;
  const std::uint64_t first = addr / sector_bytes;
  const std::uint64_t last = (addr + (part.to - part.from) + sector_bytes - 1) / sector_bytes;
  const std::byte* image = device_.image().data();
  std::uint64_t delta = 0;
  for (std::uint64_t sector = first; sector < last; ++sector)
    delta -= hash_of(sector, image + sector * sector_bytes);
  put(part);
  for (std::uint64_t sector = first; sector < last; ++sector)
    delta += hash_of(sector, image + sector * sector_bytes);
  return delta;
}

std::uint64_t CrashWindows::delta_of(const Survival& part) const {
  device_.mark();
  const std::uint64_t delta = const_cast<CrashWindows*>(this)->apply_hashed(part);
  device_.rollback();
  return delta;
}

void CrashWindows::go_to(std::uint64_t moment) {
  moment_ = moment;
  while (durable_count_ < by_durable_.size() &&
         record_.writes[by_durable_[durable_count_]].durable <= moment) {
    const std::uint32_t index = by_durable_[durable_count_++];
    base_hash_ += apply_hashed({index, 0, record_.writes[index].length});
  }
  find_open();
}

void CrashWindows::find_open() {
  open_.clear();
  for (std::uint32_t i = 0; i < record_.writes.size(); ++i) {
    const RecordedWrite& write = record_.writes[i];
    if (write.submitted > moment_ || write.length == 0 || write.durable <= moment_) continue;
    // What lay in the cache is gone once a later write to the same place went through it.
    const bool superseded = std::any_of(
        by_durable_.begin(), by_durable_.begin() + static_cast<std::ptrdiff_t>(durable_count_),
        [&](std::uint32_t other) {
          const RecordedWrite& later = record_.writes[other];
          return write.ended < later.submitted && later.addr <= write.addr &&
                 later.addr + later.length >= write.addr + write.length;
        });
    if (!superseded) open_.push_back(i);
  }
}

bool CrashWindows::overlap(std::uint32_t a, std::uint32_t b) const noexcept {
  const RecordedWrite& left = record_.writes[a];
  const RecordedWrite& right = record_.writes[b];
  return left.addr < right.addr + right.length && right.addr < left.addr + left.length;
}

void CrashWindows::make(const CrashImage& image) {
  device_.mark();
  for (const Survival& part : image.survivors)
    put(part);
}

bool CrashWindows::try_image(CrashImage& image, WantImage want, VisitImage visit) {
  device_.mark();
  image.hash = base_hash_;
  for (const Survival& part : image.survivors)
    image.hash += apply_hashed(part);
  const bool go_on = !want(image) || visit(image);
  device_.rollback();
  return go_on;
}

bool CrashWindows::try_subset(const std::vector<std::uint32_t>& chosen, WantImage want,
                              VisitImage visit) {
  CrashImage image;
  image.moment = moment_;
  image.open_writes = static_cast<std::uint32_t>(open_.size());
  bool crossing = false;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    image.survivors.push_back({chosen[i], 0, record_.writes[chosen[i]].length});
    for (std::size_t j = 0; j < i; ++j)
      crossing |= overlap(chosen[i], chosen[j]);
  }
  if (!try_image(image, want, visit)) return false;
  if (!crossing) return true;
  // The cache may write them back in another order than that in which they came.
  std::reverse(image.survivors.begin(), image.survivors.end());
  return try_image(image, want, visit);
}

bool CrashWindows::try_torn(const std::vector<std::uint32_t>& chosen, std::uint32_t torn,
                            WantImage want, VisitImage visit) {
  const std::uint32_t length = record_.writes[torn].length;
  const std::uint32_t block = device_.geometry().logical_block_bytes;
  struct Cut {
    std::uint32_t from;
    std::uint32_t to;
  };
  std::vector<Cut> cuts;
  constexpr std::uint32_t page = 4096;
  for (std::uint32_t at = page; at < length; at += page) {
    cuts.push_back({0, at});
    cuts.push_back({at, length});
  }
  for (std::uint32_t at = sector_bytes; at < std::min(length, page); at += sector_bytes)
    cuts.push_back({0, at});
  if (length > sector_bytes) {
    cuts.push_back({sector_bytes, length});
    cuts.push_back({length - sector_bytes, length});
  }
  cuts.push_back({0, 256});
  cuts.push_back({0, length - 104});
  cuts.push_back({64, length});
  for (const Cut& cut : cuts) {
    CrashImage image;
    image.moment = moment_;
    image.open_writes = static_cast<std::uint32_t>(open_.size());
    image.torn = true;
    image.torn_inside_sector = cut.from % sector_bytes != 0 || cut.to % sector_bytes != 0;
    image.torn_inside_block = cut.from % block != 0 || cut.to % block != 0;
    for (const std::uint32_t index : chosen) {
      if (index != torn) image.survivors.push_back({index, 0, record_.writes[index].length});
    }
    image.survivors.push_back({torn, cut.from, cut.to});
    if (!try_image(image, want, visit)) return false;
  }
  return true;
}

bool CrashWindows::each(const CrashRule& rule, WantImage want, VisitImage visit) {
  const std::size_t count = open_.size();
  std::vector<std::uint32_t> chosen;
  const auto choose = [&](std::uint64_t mask) {
    chosen.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if ((mask >> i & 1) != 0) chosen.push_back(open_[i]);
    }
  };
  SimRandom random(mix(rule.seed, moment_));
  if (count <= rule.exhaustive_max) {
    const std::uint64_t all = (std::uint64_t{1} << count) - 1;
    for (std::uint64_t mask = 0; mask <= all; ++mask) {
      choose(mask);
      if (!try_subset(chosen, want, visit)) return false;
      if (count > rule.torn_exhaustive_max) continue;
      const std::vector<std::uint32_t> members = chosen;
      for (const std::uint32_t torn : members) {
        if (!try_torn(members, torn, want, visit)) return false;
      }
    }
    if (count <= rule.torn_exhaustive_max) return true;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t bit = std::uint64_t{1} << i;
      for (const std::uint64_t mask : {bit, (bit - 1) | bit, all, (random() & all) | bit}) {
        choose(mask);
        if (!try_torn(chosen, open_[i], want, visit)) return false;
      }
    }
    return true;
  }
  // All prefixes; all but one; all but two; and any.
  const auto without = [&](std::size_t first, std::size_t second) {
    chosen.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if (i != first && i != second) chosen.push_back(open_[i]);
    }
    return try_subset(chosen, want, visit);
  };
  for (std::size_t end = 0; end <= count; ++end) {
    chosen.assign(open_.begin(), open_.begin() + static_cast<std::ptrdiff_t>(end));
    if (!try_subset(chosen, want, visit)) return false;
    if (end != 0 && !try_torn(chosen, chosen.back(), want, visit)) return false;
  }
  for (std::size_t first = 0; first < count; ++first) {
    for (std::size_t second = first; second < count; ++second) {
      if (!without(first, second)) return false;
    }
  }
  for (std::size_t i = 0; i < rule.random; ++i) {
    chosen.clear();
    const std::uint64_t keep = random.below(9);
    for (const std::uint32_t index : open_) {
      if (random.below(8) < keep) chosen.push_back(index);
    }
    if (!try_subset(chosen, want, visit)) return false;
    if (!chosen.empty() && !try_torn(chosen, chosen[random.below(chosen.size())], want, visit))
      return false;
  }
  return true;
}

CrashImage CrashWindows::whole_image() const {
  CrashImage image;
  image.moment = moment_;
  image.open_writes = static_cast<std::uint32_t>(open_.size());
  for (const std::uint32_t index : open_)
    image.survivors.push_back({index, 0, record_.writes[index].length});
  return image;
}

CrashImage CrashWindows::random_image(SimRandom& random) const {
  CrashImage image;
  image.moment = moment_;
  image.open_writes = static_cast<std::uint32_t>(open_.size());
  const std::uint64_t keep = random.below(9);
  const std::uint32_t block = device_.geometry().logical_block_bytes;
  for (const std::uint32_t index : open_) {
    if (random.below(8) >= keep) continue;
    const std::uint32_t length = record_.writes[index].length;
    std::uint32_t to = length;
    if (random.one_in(4)) to = static_cast<std::uint32_t>(random.below(length / block)) * block;
    if (to == 0) continue;
    image.torn |= to != length;
    image.survivors.push_back({index, 0, to});
  }
  for (std::size_t i = image.survivors.size(); i > 1; --i) {
    if (random.one_in(2)) std::swap(image.survivors[i - 1], image.survivors[random.below(i)]);
  }
  return image;
}

}  // namespace handback::sim
