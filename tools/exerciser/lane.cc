#include "exerciser/lane.h"

#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace exerciser {

using handback::Aiocb;
using handback::Errc;
using handback::IoResult;
using handback::IovView;
using handback::KiocbFlags;

void violation(const char* format, ...) {
  char text[600];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  throw Violation{text};
}

// --- Log ---

void Log::add(const char* what, std::uint64_t a, std::uint64_t b, const char* more,
              const char* how) {
  lines_[count_++ % lines_.size()] = {.what = what, .more = more, .how = how, .a = a, .b = b};
}

void Log::print(const Line& line, std::uint64_t number, char (&text)[160]) noexcept {
  std::snprintf(text, sizeof text, "  %llu: %s%s%s [%llu, +%llu) %s\n",
                static_cast<unsigned long long>(number), line.how, *line.how == 0 ? "" : " ",
                line.what, static_cast<unsigned long long>(line.a),
                static_cast<unsigned long long>(line.b), line.more);
}

std::string Log::text() const {
  std::string all;
  char text[160];
  for (std::uint64_t i = count_ - std::min<std::uint64_t>(count_, lines_.size()); i < count_; ++i) {
    print(lines_[i % lines_.size()], i, text);
    all += text;
  }
  return all;
}

void Log::write_to(int fd) const noexcept {
  char text[160];
  for (std::uint64_t i = count_ - std::min<std::uint64_t>(count_, lines_.size()); i < count_; ++i) {
    print(lines_[i % lines_.size()], i, text);
    if (::write(fd, text, std::strlen(text)) < 0) return;
  }
}

// --- World ---

bool World::fault_has_hit() {
  if (device->simulated == nullptr) return false;
  std::uint64_t hits = 0;
  for (const handback::sim::FaultRule& rule : device->simulated->faults())
    hits += rule.hits;
  faults = std::max(faults, hits);
  return faults != 0;
}

void World::failure(Errc code, const std::string& what) {
  if (fault_has_hit()) {
    failed = true;
    poisoned |= code == Errc::poisoned || code == Errc::timed_out;
    return;
  }
  if (tight && code == Errc::no_space) {
    failed = true;
    return;
  }
  violation("%s failed with %s, and nothing is wrong with the device", what.c_str(),
            std::string(handback::errc_name(code)).c_str());
}

// --- Lane ---

struct Lane::Request : Aiocb {
  handback::AlignedBuffer buffer{request_bytes_max + 8192};
  unsigned* ended = nullptr;
  std::byte* memory = nullptr;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool write = false;
  bool through_cache = false;  // Buffered, or direct and perhaps not aligned.
  bool excludes = false;       // It goes through the cache, certainly.
  bool append = false;
  bool may_be_invalid = false;
  bool must_be_invalid = false;
  std::array<iovec, 4> segments{};
  handback::VolumeFile* handle = nullptr;

  [[nodiscard]] bool has_flag(KiocbFlags flag) const { return handback::has(ki_flags, flag); }
  [[nodiscard]] const char* name() const {
    const bool direct = has_flag(KiocbFlags::direct);
    if (append) return direct ? "append direct" : "append";
    if (write) return direct ? "write direct" : "write";
    return direct ? "read direct" : "read";
  }
};

Lane::Lane(handback::Issuer& issuer, std::uint64_t seed, std::uint32_t logical_block_bytes,
           std::byte tag, Log& log, World& world)
    : random(seed),
      issuer_(issuer),
      unit_(logical_block_bytes),
      tag_(tag),
      log_(log),
      world_(world) {
  for (unsigned i = 0; i < batch_max; ++i)
    requests_.push_back(std::make_unique<Request>());
}

Lane::~Lane() = default;

// No byte is 0, as in a hole, or what a device held before it was formatted; the lowest bits are
// the lane's.
void Lane::fill(std::span<std::byte> to) {
  constexpr std::uint64_t each = 0x0101010101010101U;
  const std::uint64_t tag = each * static_cast<std::uint64_t>(tag_);
  std::uint64_t state = random();
  std::size_t at = 0;
  for (; at + 8 <= to.size(); at += 8) {
    state = state * 0x9e3779b97f4a7c15U + 0x7f4a7c15U;
    const std::uint64_t word = ((state ^ (state >> 32)) & ~(each * 3)) | tag;
    std::memcpy(to.data() + at, &word, 8);
  }
  for (; at < to.size(); ++at)
    to[at] = (static_cast<std::byte>(state >> 40) & std::byte{0xfc}) | tag_;
}

void Lane::generate(OpenFile& file, Request& request, bool alone) {
  const auto percent = [&](unsigned of) { return random.below(100) < of; };
  const unsigned which = file.handles[1] != nullptr && random.one_in(2) ? 1 : 0;
  request.handle = file.handles[which].get();
  const std::uint64_t size = file.shadow.size();
  const std::uint64_t region_from = file.shared ? file.from : 0;
  const std::uint64_t region_to = file.shared ? file.to : file.size_max;
  request.write = percent(mixture.write_percent);
  const bool direct = percent(mixture.direct_percent);
  request.append =
      request.write && !file.shared && random.one_in(12) && size + (1U << 20) < file.size_max * 2;
  // Direct, and not aligned: through the cache with such a handle, else refused.
  const bool odd = direct && (file.through[which] ? random.one_in(2) : random.one_in(40));
  const bool aligned = direct && !odd;
  request.through_cache = !direct || odd;

  std::uint64_t length = 0;
  switch (random.below(alone ? 8 : 7)) {
    case 0:
    case 1:
      length = 1 + random.below(64);
      break;
    case 2:
    case 3:
      length = 1 + random.below(4096);
      break;
    case 4:
      length = 4096 * (1 + random.below(4));
      break;
    case 5:
      length = 1 + random.below(16'384);
      break;
    case 6:
      length = 1 + random.below(mixture.length_max);
      break;
    default:
      length = random.one_in(8) ? 1 + random.below(request_bytes_max)
                                : 1 + random.below(mixture.length_max);
      break;
  }
  std::uint64_t offset = 0;
  if (random.one_in(2)) {
    offset = region_from + random.below(std::min(mixture.hot_bytes, region_to - region_from));
  } else if (!request.write || file.shared || !random.one_in(4)) {
    offset = region_from +
             random.below(std::min(region_to, std::max(size, region_from + 1) + 1) - region_from);
  } else {
    offset = region_from + random.below(region_to - region_from);
  }
  if (random.one_in(3)) offset = offset / 4096 * 4096;
  if (offset < region_from) offset = region_from;
  if (aligned) {
    length = (length + unit_ - 1) / unit_ * unit_;
    offset = offset / unit_ * unit_;
    if (offset < region_from) offset += unit_;
  }
  const std::uint64_t room = region_to - std::min(region_to, offset);
  if (request.write || file.shared) {
    if (length > room) {
      length = aligned ? room / unit_ * unit_ : room;
    }
    if (length == 0) {
      // Nothing fits there: at the beginning it does.
      offset = aligned ? (region_from + unit_ - 1) / unit_ * unit_ : region_from;
      length = aligned ? unit_ : 1;
    }
  }
  if (request.append && size + length > file.size_max) request.append = false;
  request.offset = offset;
  request.length = length;
  request.may_be_invalid = aligned && request.append;

  // Memory: aligned to blocks where it has to be.
  std::uint64_t shift = 0;
  if (!aligned && random.one_in(2)) shift = random.below(4096);
  request.memory = request.buffer.data() + shift;
  KiocbFlags flags = KiocbFlags::none;
  if (request.write) {
    fill({request.memory, length});
    if (random.one_in(16)) flags |= random.one_in(4) ? KiocbFlags::sync : KiocbFlags::dsync;
    if (request.append) flags |= KiocbFlags::append;
  } else if (length != 0) {
    std::memset(request.memory, 0xa7, std::min<std::uint64_t>(length, 64));
  }
  if (random.one_in(16)) flags |= KiocbFlags::nowait;
  if (!direct) {
    if (random.one_in(10)) flags |= KiocbFlags::dontcache;
    if (!request.write && random.one_in(20)) flags |= KiocbFlags::noio;
  }
  // Through a handle that takes only what is aligned.
  const bool unaligned_now = direct && (offset % unit_ != 0 || length % unit_ != 0) &&
                             !(request.append && length % unit_ == 0);
  request.must_be_invalid = unaligned_now && !file.through[which];
  // Its memory may be what is not aligned.
  request.may_be_invalid |= request.must_be_invalid || (odd && !unaligned_now);
  request.excludes = !direct || unaligned_now;

  const auto callback = [](Aiocb& aiocb) noexcept { ++*static_cast<Request&>(aiocb).ended; };
  request.ended = &ended_;
  unsigned pieces = 1;
  const std::uint64_t grain = aligned ? unit_ : 1;
  if (length >= 4 * grain && random.one_in(8)) pieces = 2 + static_cast<unsigned>(random.below(3));
  std::uint64_t at = 0;
  for (unsigned i = 0; i < pieces; ++i) {
    const std::uint64_t left = length - at;
    const std::uint64_t piece = i + 1 == pieces
                                    ? left
                                    : std::min(left - grain * (pieces - 1 - i),
                                               grain * (1 + random.below(length / grain / pieces)));
    request.segments[i] = iovec{request.memory + at, piece};
    at += piece;
  }
  const IovView iov{request.segments.data(), pieces};
  if (pieces > 1 || direct) {
    if (request.write) {
      request.prepare_writev(*request.handle, offset, iov, flags, callback);
    } else {
      request.prepare_readv(*request.handle, offset, iov, callback);
      request.ki_flags |= flags;
    }
    if (!direct)
      request.ki_flags = request.ki_flags & ~(KiocbFlags::direct | KiocbFlags::dio_defer);
  } else if (request.write) {
    request.prepare_buffered_write(*request.handle, offset, {request.memory, length}, flags,
                                   callback);
  } else {
    request.prepare_buffered_read(*request.handle, offset, {request.memory, length}, flags,
                                  callback);
    // A read for which nobody reads again.
    if (random.one_in(4)) request.ki_flags = request.ki_flags & ~KiocbFlags::waitq;
  }
  log_.add(request.name(), offset, length,
           request.has_flag(KiocbFlags::nowait)      ? "NOWAIT"
           : request.has_flag(KiocbFlags::noio)      ? "NOIO"
           : request.has_flag(KiocbFlags::dontcache) ? "DONTCACHE"
           : request.is_dsync()                      ? "DSYNC"
                                                     : "",
           alone ? "" : "|");
}

// By its caller, who waits: through the issuer, or as a synchronous request.
void Lane::carry_out_alone(Request& request) {
  if (random.one_in(2)) {
    request.result = issuer_.run(request);
    return;
  }
  handback::Kiocb kiocb;
  kiocb.ki_filp = request.handle;
  kiocb.ki_pos = request.ki_pos;
  kiocb.ki_flags = request.ki_flags & ~(KiocbFlags::waitq | KiocbFlags::dio_defer);
  kiocb.issuer = &issuer_;
  // The same pieces as the request's, or all in one.
  const iovec whole{request.memory, request.length};
  const IovView iov{&whole, 1};
  const handback::Outcome outcome = request.write ? request.handle->write_iter(kiocb, iov)
                                                  : request.handle->read_iter(kiocb, iov);
  if (!outcome.is_final()) violation("a synchronous request came back before it had ended");
  request.result = outcome.result();
  request.ki_pos = kiocb.ki_pos;
}

void Lane::add_effect(OpenFile& file, const Request& request, Effects& effects,
                      std::uint64_t size_before) {
  const IoResult result = request.result;
  Effect effect{.offset = request.append ? request.ki_pos : request.offset,
                .length = result.bytes(),
                .data = request.memory,
                .certain = true,
                .excludes = request.excludes,
                .durable = request.is_dsync()};
  if (result.bytes() > request.length)
    violation("%s of %llu bytes says that it wrote %u", request.name(),
              static_cast<unsigned long long>(request.length), result.bytes());
  if (request.must_be_invalid && result.code() != Errc::invalid && !world_.fault_has_hit())
    violation("a direct request that is not aligned ended with %s",
              std::string(handback::errc_name(result.code())).c_str());
  if (result.ok()) {
    counters.bytes_written += result.bytes();
    if (result.bytes() < request.length) {
      ++counters.shorter;
      if (!request.has_flag(KiocbFlags::nowait) || !request.through_cache || result.bytes() == 0)
        violation("%s at %llu of %llu bytes succeeded with %u", request.name(),
                  static_cast<unsigned long long>(request.offset),
                  static_cast<unsigned long long>(request.length), result.bytes());
    }
    if (request.append && effect.offset < size_before && !effects.cut)
      violation("an append to a file of %llu bytes went to %llu",
                static_cast<unsigned long long>(size_before),
                static_cast<unsigned long long>(effect.offset));
    if (file.shared && (effect.offset < file.from || effect.end() > file.to))
      violation("a request went out of its part of the file");
    effects.list.push_back(effect);
    return;
  }
  switch (result.code()) {
    case Errc::would_block:
      if (!request.has_flag(KiocbFlags::nowait)) break;
      ++counters.would_block;
      effect.durable = false;
      if (result.bytes() != 0) effects.list.push_back(effect);
      return;
    case Errc::invalid:
      if (!request.may_be_invalid) break;
      return;
    case Errc::no_space:
      if (!world_.tight || world_.fault_has_hit()) break;
      effect.durable = false;
      if (request.through_cache && result.bytes() != 0) effects.list.push_back(effect);
      return;
    case Errc::canceled:
      if (world_.tight && request.append) return;
      break;
    default:
      break;
  }
  world_.failure(result.code(), std::string(request.name()) + " at " +
                                    std::to_string(request.offset) + " of " +
                                    std::to_string(request.length) + " bytes (" +
                                    handback::describe(result) + ")");
  effect.length = request.length;
  effect.certain = false;
  effect.durable = false;
  if (request.append) effect.offset = std::max(request.ki_pos, size_before);
  effects.list.push_back(effect);
}

void Lane::check_read(OpenFile& file, const Request& request, const Effects& effects,
                      std::uint64_t size_least, std::uint64_t size_most) {
  const IoResult result = request.result;
  const auto within = [&](std::uint64_t size) {
    return std::min(request.length, size - std::min(size, request.offset));
  };
  if (request.must_be_invalid) {
    if (result.code() != Errc::invalid && !world_.fault_has_hit())
      violation("a direct request that is not aligned ended with %s",
                std::string(handback::errc_name(result.code())).c_str());
    return;
  }
  const bool may_be_short = request.has_flag(KiocbFlags::nowait | KiocbFlags::noio);
  if (result.bytes() > within(size_most))
    violation("%s at %llu of %llu bytes got %u from a file that ends at %llu", request.name(),
              static_cast<unsigned long long>(request.offset),
              static_cast<unsigned long long>(request.length), result.bytes(),
              static_cast<unsigned long long>(size_most));
  if (!result.ok()) {
    if (result.code() == Errc::would_block && may_be_short) {
      ++counters.would_block;
    } else if (result.code() == Errc::invalid && request.may_be_invalid) {
      return;
    } else {
      world_.failure(result.code(), std::string(request.name()) + " at " +
                                        std::to_string(request.offset) + " of " +
                                        std::to_string(request.length) + " bytes (" +
                                        handback::describe(result) + ")");
      return;
    }
  } else if (result.bytes() < within(size_least)) {
    ++counters.shorter;
    if (!may_be_short)
      violation("%s at %llu of %llu bytes got %u, and the file has %llu bytes", request.name(),
                static_cast<unsigned long long>(request.offset),
                static_cast<unsigned long long>(request.length), result.bytes(),
                static_cast<unsigned long long>(size_least));
  }
  counters.bytes_read += result.bytes();
  file.shadow.check(request.offset, {request.memory, result.bytes()}, effects, true,
                    request.name());
}

void Lane::requests(OpenFile& file, unsigned count, const Meanwhile& meanwhile) {
  const bool alone = count == 1 && !meanwhile;
  const std::uint64_t size_before = file.shadow.size();
  Effects effects;
  ended_ = 0;
  if (alone) {
    generate(file, *requests_[0], true);
    carry_out_alone(*requests_[0]);
  } else {
    for (unsigned i = 0; i < count; ++i) {
      generate(file, *requests_[i], false);
      issuer_.submit(*requests_[i]);
      if (random.one_in(8)) issuer_.poll();
    }
    if (meanwhile) meanwhile(effects);
    while (ended_ != count)
      issuer_.wait();
  }
  counters.operations += count;

  for (unsigned i = 0; i < count; ++i) {
    if (requests_[i]->write) add_effect(file, *requests_[i], effects, size_before);
  }
  std::uint64_t size_least = size_before;
  std::uint64_t size_most = size_before;
  if (effects.cut) {
    size_least = std::min(size_least, *effects.cut);
    size_most = std::max(size_most, *effects.cut);
  }
  for (const Effect& effect : effects.list) {
    if (effect.data != nullptr) size_most = std::max(size_most, effect.end());
  }
  if (!effects.cut && !file.shared) {
    // Appends go one behind the other, each where the file ended then.
    for (unsigned i = 0; i < count; ++i) {
      const Request& request = *requests_[i];
      if (!request.append || !request.result.ok()) continue;
      bool fits = request.ki_pos == size_before;
      for (const Effect& other : effects.list)
        fits |= other.end() == request.ki_pos;
      if (!fits && !world_.fault_has_hit() && !world_.tight)
        violation(
            "%s of %llu bytes went to %llu, where the file, of %llu bytes before, never ended; "
            "it has %llu now",
            request.name(), static_cast<unsigned long long>(request.length),
            static_cast<unsigned long long>(request.ki_pos),
            static_cast<unsigned long long>(size_before),
            static_cast<unsigned long long>(request.handle->size()));
    }
  }
  for (unsigned i = 0; i < count; ++i) {
    if (!requests_[i]->write) check_read(file, *requests_[i], effects, size_least, size_most);
  }
  conclude(file, effects, size_before);
}

void Lane::conclude(OpenFile& file, const Effects& effects, std::uint64_t size_before) {
  std::uint64_t least = size_before;
  std::uint64_t most = size_before;
  std::uint64_t from = ~std::uint64_t{0};
  std::uint64_t to = 0;
  for (const Effect& effect : effects.list) {
    from = std::min(from, effect.offset);
    to = std::max(to, effect.end());
    if (effect.data == nullptr) continue;
    if (effect.certain && effect.length != 0) least = std::max(least, effect.end());
    if (effect.length != 0) most = std::max(most, effect.end());
  }
  if (effects.cut) {
    // Whatever came before it went, and whatever came after it is there.
    const std::uint64_t cut = *effects.cut;
    least = effects.cut_certain ? cut : std::min(cut, size_before);
    std::uint64_t written = 0;
    for (const Effect& effect : effects.list) {
      if (effect.data != nullptr && effect.length != 0) written = std::max(written, effect.end());
    }
    most = std::max(cut, written);
    if (!effects.cut_certain) most = std::max(most, size_before);
    from = std::min({from, cut, size_before});
    to = ~std::uint64_t{0};
  }
  std::uint64_t size = size_before;
  if (!file.shared) {
    size = file.handles[0]->size();
    if (size < least || size > most)
      violation("the file has %llu bytes, and it should be %llu to %llu",
                static_cast<unsigned long long>(size), static_cast<unsigned long long>(least),
                static_cast<unsigned long long>(most));
  }
  file.history.add(effects, size_before, size);
  if (effects.empty()) return;
  if (!effects.ambiguous()) {
    file.shadow.apply(effects);
    return;
  }
  ++counters.ambiguous;
  // A new end leaves a gap before it.
  if (!file.shared && size > size_before) from = std::min(from, size_before);
  to = std::min(to, file.shared ? file.to : size);
  if (from < to) {
    const bool direct = random.one_in(2);
    const auto found = look(file, from, to - from, direct);
    if (found.size() != to - from)
      violation("a read of [%llu, %llu) got %zu bytes", static_cast<unsigned long long>(from),
                static_cast<unsigned long long>(to), found.size());
    file.shadow.check(from, found, effects, false, direct ? "direct look" : "look");
    file.shadow.settle(from, found);
  }
  if (!file.shared) file.shadow.resize(size);
}

std::span<const std::byte> Lane::look(OpenFile& file, std::uint64_t offset, std::uint64_t length,
                                      bool direct, unsigned handle) {
  const std::uint64_t start = direct ? offset / unit_ * unit_ : offset;
  const std::uint64_t end =
      direct ? (offset + length + unit_ - 1) / unit_ * unit_ : offset + length;
  if (look_buffer_.size() < end - start) look_buffer_ = handback::AlignedBuffer(end - start);
  // Nothing is wrong with the device meanwhile, but what failed before may be told only now.
  handback::sim::SimDevice* const simulated = world_.device->simulated;
  const bool hit = world_.fault_has_hit();
  std::vector<handback::sim::FaultRule> faults;
  if (simulated != nullptr) {
    faults = simulated->faults();
    simulated->clear_faults();
  }
  const auto to = look_buffer_.span().first(end - start);
  IoResult result;
  for (int tries = hit ? 5 : 1; tries != 0; --tries) {
    Aiocb aiocb;
    if (direct) {
      aiocb.prepare_read(*file.handles[handle], start, to);
    } else {
      aiocb.prepare_buffered_read(*file.handles[handle], start, to);
    }
    result = issuer_.run(aiocb);
    if (result.ok()) break;
  }
  for (const handback::sim::FaultRule& fault : faults)
    simulated->add_fault(fault);
  if (direct && result.code() == Errc::poisoned && hit) {
    // What is in the cache only cannot come down any more.
    world_.failed = world_.poisoned = true;
    return look(file, offset, length, false, handle);
  }
  if (!result.ok())
    violation("looking what is at [%llu, %llu) (%s) failed: %s",
              static_cast<unsigned long long>(start), static_cast<unsigned long long>(end),
              direct ? "direct" : "buffered", handback::describe(result).c_str());
  const std::uint64_t got =
      result.bytes() - std::min<std::uint64_t>(result.bytes(), offset - start);
  return std::span<const std::byte>(to).subspan(offset - start, std::min(got, length));
}

void Lane::verify(OpenFile& file, bool direct, unsigned handle) {
  log_.add(direct ? "verify direct" : "verify", 0, file.shadow.size());
  const std::uint64_t from = file.shared ? file.from : 0;
  const std::uint64_t to = file.shared ? file.to : file.shadow.size();
  if (!file.shared && file.handles[handle]->size() != to)
    violation("the file has %llu bytes instead of %llu",
              static_cast<unsigned long long>(file.handles[handle]->size()),
              static_cast<unsigned long long>(to));
  constexpr std::uint64_t step = 256U << 10;
  for (std::uint64_t at = from; at < to; at += step) {
    const std::uint64_t length = std::min(step, to - at);
    const auto found = look(file, at, length, direct, handle);
    if (found.size() != length)
      violation("a read of [%llu, %llu) got %zu bytes", static_cast<unsigned long long>(at),
                static_cast<unsigned long long>(at + length), found.size());
    file.shadow.check(at, found, {}, false, direct ? "verify direct" : "verify");
  }
}

}  // namespace exerciser
