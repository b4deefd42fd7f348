#include "exerciser/episode.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <thread>

namespace exerciser {

using handback::Errc;
using handback::Result;
using handback::Volume;
using handback::sim::FaultKind;
using handback::sim::FaultRule;
using handback::sim::SimDevice;

namespace {

void must(const Result<void>& result, const char* what) {
  if (!result)
    violation("%s failed: %s: %s", what,
              std::string(handback::errc_name(result.error().code())).c_str(),
              result.error().message().c_str());
}

template <typename T>
T must_give(Result<T>&& result, const char* what) {
  if (!result)
    violation("%s failed: %s: %s", what,
              std::string(handback::errc_name(result.error().code())).c_str(),
              result.error().message().c_str());
  return std::move(*result);
}

constexpr std::byte junk{0xef};

}  // namespace

void EpisodeCounters::add(const EpisodeCounters& other) {
  lanes.operations += other.lanes.operations;
  lanes.would_block += other.lanes.would_block;
  lanes.shorter += other.lanes.shorter;
  lanes.bytes_read += other.lanes.bytes_read;
  lanes.bytes_written += other.lanes.bytes_written;
  lanes.ambiguous += other.lanes.ambiguous;
  controls += other.controls;
  kills += other.kills;
  power_cuts += other.power_cuts;
  faults += other.faults;
  told += other.told;
  evictions += other.evictions;
  pages_written += other.pages_written;
  cache_bytes_most = std::max(cache_bytes_most, other.cache_bytes_most);
}

Episode::Episode(const DeviceKind& kind, Device& device, std::uint64_t seed, Log& log)
    : kind_(kind), device_(device), log_(log), seed_(seed), random_(seed), clock_(seed) {
  world_.device = &device;
}

Episode::~Episode() {
  // After a violation anything may be in flight: what is armed ends it.
  if (device_.simulated != nullptr) {
    device_.simulated->clear_faults();
    device_.simulated->stop_recording();
  }
  if (issuer_ != nullptr) {
    if (volume_ != nullptr && volume_->frozen()) static_cast<void>(volume_->thaw(*issuer_));
    while (issuer_->in_flight() != 0)
      issuer_->wait();
  }
  second_.reset();
  for (auto& handle : file_.handles)
    handle.reset();
  volume_.reset();
  issuer_.reset();
}

void Episode::start() {
  if (device_.simulated != nullptr) {
    device_.time->set(1'000'000'000, seed_);
    device_.simulated->set_seed(seed_);
    device_.simulated->clear_faults();
  }
  handback::IssuerOptions options;
  if (device_.simulated != nullptr) {
    options.nudge_signal = 0;
    options.environment = device_.time.get();
  } else if (kind_.on == DeviceKind::On::memory && !kind_.two_threads) {
    options.environment = &clock_;
  }
  issuer_ = must_give(handback::Issuer::create(options), "making an issuer");
  must(Volume::format(*issuer_, *device_.device,
                      {.label = {}, .overwrite = true, .data_checksums = kind_.checksums}),
       "format");
  options_.page_cache_bytes_max = 1U << 20;
  if (random_.one_in(4)) options_.page_cache_bytes_max <<= 1 + random_.below(2);
  options_.commit_interval_ms =
      random_.one_in(2) ? 500 : 1 + static_cast<std::uint32_t>(random_.below(20));
  file_.path = "/f";
  const bool simulated = device_.simulated != nullptr;
  file_.size_max = random_.one_in(3) && !simulated ? 4U << 20 : 1U << 20;
  lane_ =
      std::make_unique<Lane>(*issuer_, random_(), device_.device->geometry().logical_block_bytes,
                             std::byte{1}, log_, world_);
  lane_->mixture.direct_percent = static_cast<unsigned>(random_.below(3)) * 30 + 10;
  lane_->mixture.write_percent = 30 + static_cast<unsigned>(random_.below(5)) * 10;
  lane_->mixture.hot_bytes = 4096ULL << random_.below(8);
  if (random_.one_in(2)) lane_->mixture.length_max = 8192;
  open_volume();
  // What was here before, or should not be seen.
  const auto filler = must_give(volume_->open_file(*issuer_, "/junk", {.create = true}), "create");
  handback::AlignedBuffer buffer(256U << 10);
  std::memset(buffer.data(), static_cast<int>(junk), buffer.size());
  for (std::uint64_t at = 0;; at += buffer.size()) {
    handback::Aiocb aiocb;
    aiocb.prepare_write(*filler, at, buffer.span());
    const handback::IoResult result = issuer_->run(aiocb);
    if (result.code() == Errc::no_space) break;
    if (!result.ok())
      violation("filling the device failed: %s", handback::describe(result).c_str());
  }
  data_from_ = ~std::uint64_t{0};
  for (const handback::ExtentInfo& extent : filler->extents())
    data_from_ = std::min(data_from_, extent.addr);
  // Mostly all of it is given back; else so much that the file does not always fit.
  tight_ = random_.one_in(5) && !kind_.faults && !kind_.two_threads;
  std::uint64_t kept = 0;
  if (tight_) {
    const std::uint64_t room = file_.size_max / 2 + random_.below(file_.size_max);
    kept = filler->size() - std::min(filler->size(), room);
  }
  must(filler->truncate(*issuer_, kept), "truncate");
  must(volume_->sync(*issuer_), "sync");
  world_.tight = tight_;
  open_handle(file_, 0, true);
  must(volume_->sync(*issuer_), "sync");
  file_.history.begin(file_.shadow);
}

void Episode::open_volume() {
  if (kind_.power_cuts) {
    SimDevice& device = *device_.simulated;
    device.stop_recording();
    const auto image = device.image();
    image_.assign(image.begin(), image.end());
    device.start_recording();
  }
  volume_ = must_give(Volume::open(*issuer_, *device_.device, options_), "opening the volume");
}

void Episode::open_handle(OpenFile& file, unsigned which, bool create) {
  file.through[which] = random_.one_in(2);
  file.handles[which] = must_give(
      volume_->open_file(*issuer_, file.path,
                         {.create = create, .unaligned_through_cache = file.through[which]}),
      "opening the file");
}

void Episode::close_handles(OpenFile& file) {
  for (auto& handle : file.handles)
    handle.reset();
}

void Episode::for_all(const std::function<void(OpenFile& file)>& what) {
  what(file_);
  if (second_ != nullptr) what(*second_);
}

OpenFile& Episode::some_file() {
  return second_ != nullptr && random_.one_in(4) ? *second_ : file_;
}

bool Episode::went(const Result<void>& result, const char* what) {
  if (result) return true;
  world_.failure(result.error().code(), std::string(what) + " (" + result.error().message() + ")");
  return false;
}

void Episode::note_cache() {
  const handback::PageCacheInfo cache = volume_->info().page_cache;
  // Writers wait for write-backs long before that.
  if (!kind_.faults && cache.pages_dirty * 4096 > options_.page_cache_bytes_max / 3)
    violation("the page cache has %llu dirty pages",
              static_cast<unsigned long long>(cache.pages_dirty));
  counters_.cache_bytes_most = std::max(counters_.cache_bytes_most, cache.memory_bytes);
  if (cache.memory_bytes > options_.page_cache_bytes_max)
    violation("the page cache has %llu bytes and may have %llu",
              static_cast<unsigned long long>(cache.memory_bytes),
              static_cast<unsigned long long>(options_.page_cache_bytes_max));
}

// --- operations ---

void Episode::run(std::uint64_t operations) {
  start();
  if (kind_.two_threads) {
    run_two(operations);
    return;
  }
  while (lane_->counters.operations + counters_.controls < operations) {
    std::size_t entries[2] = {file_.history.entries(),
                              second_ != nullptr ? second_->history.entries() : 0};
    const std::uint64_t before = kind_.power_cuts ? device_.simulated->now() : 0;
    const auto controls_before = counters_.controls;
    step();
    if (world_.failed) recover();
    if (random_.one_in(16)) note_cache();
    // A long history is of no use.
    for_all([&](OpenFile& file) {
      if (file.history.bytes() < (3U << 20)) return;
      if (kind_.faults || kind_.power_cuts) {
        sync_file(file);
      } else {
        file.history.stop();
      }
    });
    if (world_.failed) recover();
    if (kind_.power_cuts && random_.one_in(60) && file_.history.valid()) {
      // In the middle of the last step, if that was of requests alone.
      const bool whole = counters_.controls != controls_before || random_.one_in(2) ||
                         file_.history.entries() < entries[0];
      if (!whole) {
        file_.history.forget_promises_of(entries[0]);
        if (second_ != nullptr) second_->history.forget_promises_of(entries[1]);
      }
      const std::uint64_t now = device_.simulated->now();
      cut_power(whole ? now : before + random_.below(now - before + 1));
    }
  }
  finish();
}

void Episode::step() {
  switch (random_.below(24)) {
    case 0:
    case 1:
    case 2:
      control();
      return;
    case 3:
    case 4:
    case 5:
      lane_->requests(some_file(), 2 + static_cast<unsigned>(random_.below(Lane::batch_max - 1)));
      return;
    case 6:
      lane_->requests(some_file(), 2 + static_cast<unsigned>(random_.below(3)));
      return;
    case 7:
      requests_with_a_call();
      return;
    default:
      for (int i = 0; i < 4 && !world_.failed; ++i)
        lane_->requests(some_file(), 1);
      return;
  }
}

void Episode::change(OpenFile& file, Effects& effects, bool among_requests) {
  auto& handle = *file.handles[file.handles[1] != nullptr && random_.one_in(2) ? 1 : 0];
  const std::uint64_t size = file.shadow.size();
  std::uint64_t offset = random_.below(size + 1);
  std::uint64_t length = 1 + random_.below(random_.one_in(2) ? 20'000 : size + 1);
  if (random_.one_in(2)) offset = random_.below(lane_->mixture.hot_bytes);
  if (random_.one_in(3)) {
    offset = offset / 4096 * 4096;
    length = (length + 4095) / 4096 * 4096;
  }
  length = std::min(length, file.size_max - std::min(file.size_max - 1, offset));
  ++counters_.controls;
  switch (random_.below(5)) {
    case 0: {
      std::uint64_t to = random_.one_in(3)
                             ? random_.below(file.size_max + 1)
                             : size - random_.below(std::min<std::uint64_t>(size, 20'000) + 1);
      if (random_.one_in(3)) to = to / 4096 * 4096;
      log_.add("truncate", to, 0, "", among_requests ? "|" : "");
      effects.cut_certain = went(handle.truncate(*issuer_, to), "truncate");
      effects.cut = to;
      return;
    }
    case 1: {
      log_.add("punch", offset, length, "", among_requests ? "|" : "");
      const bool done = went(handle.punch(*issuer_, offset, length), "punch");
      effects.list.push_back({.offset = offset, .length = length, .certain = done});
      return;
    }
    case 2: {
      log_.add("zero_range", offset, length, "", among_requests ? "|" : "");
      const bool done = went(handle.zero_range(*issuer_, offset, length), "zero_range");
      effects.list.push_back({.offset = offset, .length = length, .certain = done});
      return;
    }
    case 3: {
      const bool initialised = random_.one_in(2);
      const bool extend = random_.one_in(3) && !among_requests;
      // What a write cut off by a crash has left in initialised blocks behind the end is not looked
      // for: see the tests of preallocation.
      if (initialised && !extend && offset >= size) return;
      if (initialised && !extend)
        length = std::min(length, std::max<std::uint64_t>(size, offset + 1) - offset);
      log_.add(initialised ? "preallocate initialised" : "preallocate", offset, length,
               extend ? "extending" : "", among_requests ? "|" : "");
      const bool done =
          went(handle.preallocate(*issuer_, offset, length,
                                  {.mode = initialised ? handback::PreallocateMode::initialised
                                                       : handback::PreallocateMode::reserved,
                                   .extend_size = extend}),
               "preallocate");
      if (extend && offset + length > size) {
        effects.cut = offset + length;
        effects.cut_certain = done;
      }
      return;
    }
    default: {
      log_.add("fsync", 0, 0, "", among_requests ? "|" : "");
      static_cast<void>(went(handle.fsync(*issuer_), "fsync"));
      return;
    }
  }
}

void Episode::sync_file(OpenFile& file) {
  log_.add("fsync");
  auto& handle = *file.handles[file.handles[1] != nullptr && random_.one_in(2) ? 1 : 0];
  if (!went(handle.fsync(*issuer_), "fsync")) return;
  if (kind_.faults || kind_.power_cuts || random_.one_in(6)) {
    file.history.begin(file.shadow);
  } else {
    file.history.stop();
  }
}

void Episode::requests_with_a_call() {
  OpenFile& file = some_file();
  lane_->requests(file, 1 + static_cast<unsigned>(random_.below(12)),
                  [&](Effects& effects) { change(file, effects, true); });
}

void Episode::while_frozen() {
  log_.add("freeze");
  ++counters_.controls;
  if (!went(volume_->freeze(*issuer_), "freeze")) return;
  OpenFile& file = some_file();
  const std::uint64_t writes =
      device_.simulated != nullptr ? device_.simulated->counts().writes : 0;
  lane_->requests(file, 1 + static_cast<unsigned>(random_.below(8)), [&](Effects&) {
    for (int i = 0; i < 3; ++i)
      issuer_->poll();
    if (random_.one_in(2)) {
      const auto synced = file.handles[0]->fsync(*issuer_);
      if (!synced && synced.error().code() != Errc::busy) static_cast<void>(went(synced, "fsync"));
    }
    if (device_.simulated != nullptr && device_.simulated->counts().writes != writes)
      violation("something was written to the device while the volume was frozen");
    log_.add("thaw");
    must(volume_->thaw(*issuer_), "thaw");
  });
}

void Episode::control() {
  OpenFile& file = some_file();
  switch (random_.below(40)) {
    default: {
      const std::uint64_t size = file.shadow.size();
      Effects effects;
      change(file, effects, false);
      lane_->conclude(file, effects, size);
      return;
    }
    case 0:
    case 1:
    case 2:
    case 3:
      ++counters_.controls;
      sync_file(file);
      return;
    case 4:
    case 5:
      ++counters_.controls;
      log_.add("sync");
      static_cast<void>(went(volume_->sync(*issuer_), "sync"));
      return;
    case 6:
    case 7:
      reopen_handle();
      return;
    case 8:
    case 9:
      while_frozen();
      return;
    case 10:
      second_file();
      return;
    case 11:
      if (!random_.one_in(3)) return;
      if (kind_.faults && world_.fault_has_hit()) return;
      disarm_faults();
      if (!world_.failed) reopen_volume();
      return;
    case 12:
      if (!random_.one_in(3)) return;
      disarm_faults();
      if (!world_.failed) kill();
      return;
    case 13:
      ++counters_.controls;
      if (!kind_.faults) lane_->verify(file, random_.one_in(2));
      return;
    case 14:
    case 15:
    case 16:
    case 17:
    case 18:
    case 19:
      if (!kind_.faults) return;
      arm_fault();
      return;
    case 20:
    case 21:
    case 22:
      if (!kind_.faults) return;
      disarm_faults();
      return;
    case 23:
      // Time for what is due.
      for (int i = 0; i < 20; ++i)
        issuer_->poll();
      if (device_.time != nullptr) device_.time->advance(600'000'000);
      issuer_->poll();
      return;
  }
}

void Episode::reopen_handle() {
  ++counters_.controls;
  // Of a handle that is opened now, nobody says whether it was open when a write-back failed.
  fault_in_write_ = false;
  OpenFile& file = some_file();
  if (file.handles[1] == nullptr) {
    log_.add("open a second handle");
    open_handle(file, 1);
    return;
  }
  const unsigned which = static_cast<unsigned>(random_.below(2));
  log_.add("close a handle", which);
  if (random_.one_in(2) && !went(file.handles[which]->close(*issuer_), "close")) return;
  file.handles[which].reset();
  if (which == 0) {
    file.handles[0] = std::move(file.handles[1]);
    file.through[0] = file.through[1];
  }
  // Now and then the file has none for a moment, with what is dirty in it.
  if (!random_.one_in(2) || world_.fault_has_hit()) return;
  file.handles[0].reset();
  open_handle(file, 0);
}

void Episode::second_file() {
  if (kind_.faults) return;
  ++counters_.controls;
  if (second_ == nullptr) {
    log_.add("create the second file");
    second_ = std::make_unique<OpenFile>();
    second_->path = "/second";
    second_->size_max = 512U << 10;
    open_handle(*second_, 0, true);
  } else {
    log_.add("unlink the second file");
    must(volume_->unlink("/second"), "unlink");
    second_.reset();
  }
  if (!went(volume_->sync(*issuer_), "sync")) return;
  for_all([&](OpenFile& file) { file.history.begin(file.shadow); });
}

void Episode::reopen_volume() {
  ++counters_.controls;
  log_.add("close and open the volume");
  for_all([&](OpenFile& file) { close_handles(file); });
  must(volume_->close(*issuer_), "closing the volume");
  volume_.reset();
  if (random_.one_in(4)) {
    const auto report = must_give(
        handback::check_volume(*issuer_, *device_.device, {.data = kind_.checksums}), "check");
    if (!report.findings.empty())
      violation("check finds in a closed volume: %s %s: %s", report.findings[0].structure.c_str(),
                report.findings[0].field.c_str(), report.findings[0].problem.c_str());
  }
  open_volume();
  if (!volume_->recovery().clean) violation("a volume that was closed is not clean");
  for_all([&](OpenFile& file) {
    open_handle(file, 0);
    lane_->verify(file, random_.one_in(2));
    file.history.begin(file.shadow);
  });
}

void Episode::kill() {
  ++counters_.controls;
  ++counters_.kills;
  log_.add("kill");
  const bool sync_first = !file_.history.valid() || random_.one_in(2) ||
                          (second_ != nullptr && !second_->history.valid());
  if (sync_first) {
    for_all([&](OpenFile& file) {
      if (!went(file.handles[0]->fsync(*issuer_), "fsync")) return;
      file.history.begin(file.shadow);
    });
    if (world_.failed) return;
  }
  for_all([&](OpenFile& file) { close_handles(file); });
  volume_.reset();
  after_crash("after a kill");
}

// The volume is gone, and the device as the crash left it.
void Episode::after_crash(const char* what) {
  world_.poisoned = false;
  if (random_.one_in(4)) {
    const auto report = must_give(handback::check_volume(*issuer_, *device_.device), "check");
    if (!report.findings.empty())
      violation("check finds %s: %s %s: %s", what, report.findings[0].structure.c_str(),
                report.findings[0].field.c_str(), report.findings[0].problem.c_str());
  }
  open_volume();
  for_all([&](OpenFile& file) {
    open_handle(file, 0);
    const std::uint64_t size = file.handles[0]->size();
    const auto found = lane_->look(file, 0, size, random_.one_in(2));
    if (found.size() != size) violation("%s: a read of the file is short", what);
    file.history.check(found, what);
    file.shadow.bytes.assign(found.begin(), found.end());
    must(file.handles[0]->fsync(*issuer_), "fsync");
    file.history.begin(file.shadow);
  });
}

void Episode::cut_power(std::uint64_t moment) {
  ++counters_.power_cuts;
  log_.add("power cut", moment);
  for_all([&](OpenFile& file) { close_handles(file); });
  volume_.reset();
  SimDevice& device = *device_.simulated;
  device.stop_recording();
  for (int i = 0; i < 4; ++i) {
    device_.time->advance(1'000'000);
    issuer_->poll();
  }
  const handback::sim::SimRecord& record = device.record();
  std::vector<std::byte> image = image_;
  const std::uint64_t survive = random_.below(5);  // Of four.
  const std::uint32_t unit = device.geometry().logical_block_bytes;
  // Those in flight together were carried out as they ended.
  std::vector<handback::sim::RecordedWrite> writes = record.writes;
  std::stable_sort(writes.begin(), writes.end(),
                   [](const auto& a, const auto& b) { return a.ended < b.ended; });
  for (const handback::sim::RecordedWrite& write : writes) {
    if (write.submitted > moment) continue;
    std::uint64_t from = 0;
    std::uint64_t to = write.length;
    if (write.durable > moment) {
      if (random_.below(4) >= survive) continue;
      if (write.ended > moment && random_.one_in(4)) {
        // Torn between blocks.
        const std::uint64_t at = random_.below(write.length / unit + 1) * unit;
        (random_.one_in(2) ? from : to) = at;
      }
    }
    std::memcpy(image.data() + write.addr + from, record.bytes.data() + write.data + from,
                to - from);
  }
  const auto now = device.image();
  std::memcpy(now.data(), image.data(), image.size());
  after_crash("after a power cut");
}

// --- faults ---

void Episode::arm_fault() {
  if (!device_.simulated->faults().empty()) return;
  ++counters_.controls;
  FaultRule rule;
  constexpr FaultKind kinds[] = {FaultKind::io_error,  FaultKind::io_error,
                                 FaultKind::io_error,  FaultKind::again,
                                 FaultKind::no_memory, FaultKind::short_transfer,
                                 FaultKind::no_space,  FaultKind::failed_flush};
  rule.kind = kinds[random_.below(std::size(kinds))];
  if (rule.kind != FaultKind::failed_flush) {
    rule.op = random_.one_in(3) ? handback::BioOp::read : handback::BioOp::write;
    // Mostly data alone: the log's poison everything.
    if (!random_.one_in(4)) rule.from = data_from_;
    rule.sticky = random_.one_in(3);
  }
  rule.nth = 1 + random_.below(12);
  log_.add("arm a fault", static_cast<std::uint64_t>(rule.kind), rule.nth,
           rule.op == handback::BioOp::read ? "of a read" : "of a write or flush",
           rule.from == 0 ? "anywhere" : "of data");
  device_.simulated->add_fault(rule);
  fault_in_write_ =
      rule.kind == FaultKind::io_error && rule.op == handback::BioOp::write && rule.from != 0;
}

// All that was wrong with the device is over. Whoever was not told yet is told now.
void Episode::disarm_faults() {
  if (device_.simulated == nullptr || device_.simulated->faults().empty()) return;
  ++counters_.controls;
  const bool hit = world_.fault_has_hit();
  log_.add("heal", hit ? 1 : 0);
  device_.simulated->clear_faults();
  if (!hit) return;
  ++counters_.faults;
  // No request has failed: it was a write-back's, and each handle is told once.
  for (auto& handle : file_.handles) {
    if (handle == nullptr) continue;
    // Each failure once: what was in flight as it was told may have failed since.
    int times = 0;
    for (auto synced = handle->fsync(*issuer_); !synced; synced = handle->fsync(*issuer_)) {
      ++counters_.told;
      static_cast<void>(went(synced, "fsync"));
      if (world_.poisoned) return;
      if (++times == 5)
        violation("after the device was healed fsync fails and fails: %s",
                  synced.error().message().c_str());
    }
    if (times == 0 && fault_in_write_)
      violation("a write-back has failed, and fsync of a handle that was open says nothing of it");
  }
  world_.failed = false;
  world_.faults = 0;
  lane_->verify(file_, true);
  lane_->verify(file_, false);
  file_.history.begin(file_.shadow);
}

// Something failed that may.
void Episode::recover() {
  if (!world_.fault_has_hit()) {
    world_.failed = false;  // It was full.
    return;
  }
  ++counters_.faults;
  log_.add("heal, after a failure");
  device_.simulated->clear_faults();
  device_.simulated->answer_all();
  for (auto& handle : file_.handles) {
    if (handle == nullptr || world_.poisoned) continue;
    for (int times = 0;; ++times) {
      const auto synced = handle->fsync(*issuer_);
      if (synced) break;
      ++counters_.told;
      if (synced.error().code() == Errc::poisoned) {
        world_.poisoned = true;
        break;
      }
      if (times == 5)
        violation("after the device was healed fsync fails and fails: %s",
                  synced.error().message().c_str());
    }
  }
  if (!world_.poisoned) {
    if (const auto synced = volume_->sync(*issuer_); !synced) {
      if (synced.error().code() != Errc::poisoned)
        violation("after the device was healed sync fails: %s", synced.error().message().c_str());
      world_.poisoned = true;
    }
  }
  world_.failed = false;
  world_.faults = 0;
  if (world_.poisoned) {
    ++counters_.kills;
    log_.add("reopen, poisoned");
    for_all([&](OpenFile& file) { close_handles(file); });
    volume_.reset();
    after_crash("after the volume was poisoned");
    return;
  }
  for_all([&](OpenFile& file) {
    lane_->verify(file, true);
    lane_->verify(file, false);
    file.history.begin(file.shadow);
  });
}

void Episode::finish() {
  disarm_faults();
  if (world_.failed) recover();
  for_all([&](OpenFile& file) {
    lane_->verify(file, false);
    if (!went(file.handles[0]->fsync(*issuer_), "fsync")) return;
    lane_->verify(file, true);
    file.history.begin(file.shadow);
  });
  note_cache();
  const handback::PageCacheInfo cache = volume_->info().page_cache;
  counters_.evictions += cache.evictions;
  counters_.pages_written += cache.pages_written;
  reopen_volume();
  counters_.lanes = lane_->counters;
  counters_.lanes.operations += counters_.controls;
}

// --- two threads ---

// Each has its own part of the file, which share a page and a block at their border; what lies
// behind both is cut, extended, punched and written by both, and only bytes that nobody wrote may
// not be seen there.
void Episode::run_two(std::uint64_t operations) {
  const std::uint64_t part = 90'000 + random_.below(200'000);
  const std::uint64_t third = 2 * part;
  const std::uint64_t end = third + 200'000;
  must(file_.handles[0]->truncate(*issuer_, end), "truncate");
  must(file_.handles[0]->fsync(*issuer_), "fsync");
  struct Side {
    std::unique_ptr<Lane> lane;
    OpenFile file;
    std::optional<Violation> violation;
    std::uint64_t controls = 0;
  };
  World worlds[2];
  Side sides[2];
  Log logs[2];
  std::atomic<bool> stop{false};
  const auto work = [&](unsigned which, handback::Issuer& issuer, std::uint64_t seed) {
    Side& side = sides[which];
    Random random(seed);
    side.lane->mixture = lane_->mixture;
    OpenFile& file = side.file;
    file.shared = true;
    file.from = which * part;
    file.to = (which + 1) * part;
    file.size_max = end;
    file.shadow.resize(third);
    handback::AlignedBuffer buffer(64U << 10);
    try {
      while (!stop.load(std::memory_order_relaxed) &&
             side.lane->counters.operations + side.controls < operations / 2) {
        handback::VolumeFile& handle = *file.handles[random.below(2)];
        if (!random.one_in(5)) {
          side.lane->requests(file,
                              random.one_in(2) ? 1 : 2 + static_cast<unsigned>(random.below(15)));
          continue;
        }
        ++side.controls;
        const std::uint64_t at = third + random.below(end - third);
        const std::uint64_t length = 1 + random.below(std::min<std::uint64_t>(end - at, 30'000));
        switch (random.below(9)) {
          case 0:
            must(handle.truncate(issuer, at), "truncate");
            break;
          case 1:
            must(handle.punch(issuer, at, length), "punch");
            break;
          case 2:
            must(handle.zero_range(issuer, at, length), "zero_range");
            break;
          case 3:
            must(handle.preallocate(
                     issuer, at, length,
                     {.mode = random.one_in(2) ? handback::PreallocateMode::initialised
                                               : handback::PreallocateMode::reserved,
                      .extend_size = random.one_in(2)}),
                 "preallocate");
            break;
          case 4:
            must(handle.fsync(issuer), "fsync");
            break;
          case 5:
            if (random.one_in(4)) must(volume_->sync(issuer), "sync");
            break;
          case 6: {
            handback::Aiocb aiocb;
            std::memset(buffer.data(), which == 0 ? 0x11 : 0x12, length);
            aiocb.prepare_buffered_write(handle, at, buffer.span().first(length));
            const handback::IoResult result = issuer.run(aiocb);
            if (!result.ok() || result.bytes() != length)
              violation("a write behind both parts failed: %s", handback::describe(result).c_str());
            break;
          }
          case 7: {
            const handback::PageCacheInfo cache = volume_->info().page_cache;
            if (cache.memory_bytes > options_.page_cache_bytes_max)
              violation("the page cache has %llu bytes and may have %llu",
                        static_cast<unsigned long long>(cache.memory_bytes),
                        static_cast<unsigned long long>(options_.page_cache_bytes_max));
            break;
          }
          default: {
            handback::Aiocb aiocb;
            const bool direct = random.one_in(3);
            if (direct) {
              aiocb.prepare_read(handle, at / 4096 * 4096, buffer.span());
            } else {
              aiocb.prepare_buffered_read(handle, at, buffer.span().first(length));
            }
            const handback::IoResult result = issuer.run(aiocb);
            if (!result.ok())
              violation("a read behind both parts failed: %s", handback::describe(result).c_str());
            const auto got = buffer.span().first(result.bytes());
            const std::uint64_t skip = direct && at / 4096 * 4096 < third ? 4096 : 0;
            for (std::uint64_t i = skip; i < got.size(); ++i) {
              if (got[i] != std::byte{0} && got[i] != std::byte{0x11} && got[i] != std::byte{0x12})
                violation(
                    "behind both parts, byte %llu of a %s read at %llu is 0x%02x, which "
                    "nobody wrote there",
                    static_cast<unsigned long long>(i), direct ? "direct" : "buffered",
                    static_cast<unsigned long long>(at), static_cast<unsigned>(got[i]));
            }
            break;
          }
        }
      }
      side.lane->verify(file, random.one_in(2), 0);
    } catch (const Violation& found) {
      side.violation = Violation{found.what + "\nlast operations of thread " +
                                 std::to_string(which) + ":\n" + logs[which].text()};
      stop = true;
      while (issuer.in_flight() != 0)
        issuer.wait();
    }
  };
  for (Side& side : sides) {
    side.file.path = file_.path;
    for (unsigned i = 0; i < 2; ++i)
      open_handle(side.file, i);
  }
  const std::uint32_t unit = device_.device->geometry().logical_block_bytes;
  for (World& world : worlds)
    world.device = &device_;
  sides[0].lane =
      std::make_unique<Lane>(*issuer_, random_(), unit, std::byte{1}, logs[0], worlds[0]);
  const std::uint64_t seeds[2] = {random_(), random_()};
  const std::uint64_t lane_seed = random_();
  std::thread other([&] {
    const auto issuer = must_give(handback::Issuer::create(), "making an issuer");
    sides[1].lane =
        std::make_unique<Lane>(*issuer, lane_seed, unit, std::byte{2}, logs[1], worlds[1]);
    work(1, *issuer, seeds[1]);
  });
  work(0, *issuer_, seeds[0]);
  other.join();
  for (const Side& side : sides) {
    if (side.violation) throw *side.violation;
  }
  // Alone: each part as each thread left it, found in both ways, and again after a reopening.
  const auto both = [&](bool reopened) {
    for (Side& side : sides) {
      if (reopened) open_handle(side.file, 0);
      OpenFile view;
      view.shared = true;
      view.from = side.file.from;
      view.to = side.file.to;
      view.shadow = side.file.shadow;
      view.handles[0] = std::move(side.file.handles[0]);
      lane_->verify(view, false);
      lane_->verify(view, true);
    }
  };
  both(false);
  for (Side& side : sides) {
    close_handles(side.file);
    counters_.lanes.operations += side.lane->counters.operations + side.controls;
    counters_.lanes.bytes_read += side.lane->counters.bytes_read;
    counters_.lanes.bytes_written += side.lane->counters.bytes_written;
    counters_.lanes.ambiguous += side.lane->counters.ambiguous;
    counters_.lanes.would_block += side.lane->counters.would_block;
    counters_.controls += side.controls;
  }
  note_cache();
  const handback::PageCacheInfo cache = volume_->info().page_cache;
  counters_.evictions += cache.evictions;
  counters_.pages_written += cache.pages_written;
  close_handles(file_);
  must(volume_->close(*issuer_), "closing the volume");
  volume_.reset();
  open_volume();
  both(true);
}

}  // namespace exerciser
