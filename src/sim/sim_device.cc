#include <handback/sim.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/assert.h"
#include "block/bio_check.h"
#include "sim/sim_queue.h"
#include "sim/sim_random.h"

namespace handback::sim {
namespace {

constexpr std::uint64_t misdirection_bytes = 64U << 10;
constexpr std::uint64_t late_ns = 40'000'000'000;

// Of the kinds in which the device refuses a bio as a whole.
IoResult refusal(FaultKind fault) noexcept {
  switch (fault) {
    case FaultKind::again:
      return IoResult::host_failure(EAGAIN);
    case FaultKind::no_space:
      return IoResult::host_failure(ENOSPC);
    case FaultKind::no_memory:
      return IoResult::host_failure(ENOMEM);
    default:
      return IoResult::host_failure(ENODEV);
  }
}

std::byte* map(std::uint64_t size_bytes) {
  void* const memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

}  // namespace

SimDevice::SimDevice(SimEnvironment& environment, const SimDeviceOptions& options)
    : environment_(environment), options_(options), random_(options.seed) {
  geometry_.size_bytes = options.size_bytes;
  geometry_.logical_block_bytes = options.logical_block_bytes;
  geometry_.memory_alignment_bytes = 1;
  geometry_.transfer_bytes_max = options.transfer_bytes_max;
  geometry_.volatile_cache = options.volatile_cache;
  geometry_.fua = options.fua;
  HB_ASSERT(is_sound(geometry_), "a geometry has a size, and blocks of 512 or 4096 bytes");
  image_ = map(geometry_.size_bytes);
}

SimDevice::~SimDevice() {
  HB_ASSERT(queues_.empty(), "a device outlives its queues");
  ::munmap(image_, geometry_.size_bytes);
}

Result<std::unique_ptr<BlockQueue>> SimDevice::open_queue(int /*wake_fd*/) {
  if (gone_) return fail(Errc::io, name_ + ": the device is gone");
  auto queue = std::make_unique<SimQueue>(*this, environment_);
  queues_.push_back(queue.get());
  return queue;
}

void SimDevice::forget_queue(SimQueue& queue) noexcept {
  std::erase(queues_, &queue);
  // What was never answered: a deadline has let the bio go, and its memory stays.
  for (auto& pending : pending_) {
    if (pending->queue == &queue) pending->queue = nullptr;
  }
}

// --- faults ---

std::size_t SimDevice::add_fault(const FaultRule& rule) {
  if (rule.kind == FaultKind::stale_read && previous_.empty())
    previous_.assign(image_, image_ + geometry_.size_bytes);
  faults_.push_back(rule);
  return faults_.size() - 1;
}

void SimDevice::clear_faults() noexcept {
  faults_.clear();
  latent_.clear();
  previous_.clear();
  gone_ = false;
}

void SimDevice::answer_all() noexcept {
  for (auto& pending : pending_) {
    pending->due_ns = std::min(pending->due_ns, environment_.monotonic_ns());
  }
}

bool SimDevice::fits(const FaultRule& rule, const Bio& bio) const noexcept {
  if (rule.op && *rule.op != bio.op) return false;
  if (bio.op == BioOp::flush) return true;
  return bio.addr < rule.to && bio.addr + bio.length > rule.from;
}

FaultRule* SimDevice::fault_for(const Bio& bio) noexcept {
  FaultRule* chosen = nullptr;
  for (FaultRule& rule : faults_) {
    if (!fits(rule, bio)) continue;
    if (rule.nth > 1) {
      --rule.nth;
      continue;
    }
    if (rule.hits != 0 && !rule.sticky) continue;
    if (chosen != nullptr) continue;
    ++rule.hits;
    chosen = &rule;
  }
  return chosen;
}

// --- the life of a bio ---

void SimDevice::submitted(SimQueue& queue, Bio& bio) noexcept {
  ++moment_;
  note(mix(static_cast<std::uint64_t>(bio.op) + (bio.fua ? 8 : 0), bio.addr + bio.length));
  switch (bio.op) {
    case BioOp::read:
      ++counts_.reads;
      break;
    case BioOp::write:
      ++counts_.writes;
      break;
    case BioOp::flush:
      ++counts_.flushes;
      break;
  }
  std::unique_ptr<Pending> pending;
  if (spare_.empty()) {
    pending = std::make_unique<Pending>();
  } else {
    pending = std::move(spare_.back());
    spare_.pop_back();
    *pending = Pending{};
  }
  pending->queue = &queue;
  pending->bio = &bio;
  pending->submitted = moment_;
  const std::uint64_t span_ns = options_.delay_ns_max - options_.delay_ns_min;
  const std::uint64_t delay_ns =
      instant_ ? 0 : options_.delay_ns_min + (span_ns == 0 ? 0 : random_.below(span_ns));
  pending->due_ns = environment_.monotonic_ns() + delay_ns;
  if (gone_) {
    pending->faulty = true;
    pending->fault = FaultKind::gone;
  } else if (!faults_.empty()) {
    if (const FaultRule* rule = fault_for(bio); rule != nullptr) {
      pending->faulty = true;
      pending->fault = rule->kind;
      note(static_cast<std::uint64_t>(rule->kind) + 1000);
      if (rule->kind == FaultKind::gone) gone_ = true;
      if (rule->kind == FaultKind::no_answer) pending->due_ns = never;
      if (rule->kind == FaultKind::late_answer) pending->due_ns += late_ns;
    }
  }
  if (recording_ && bio.op == BioOp::write) {
    pending->recorded = true;
    pending->write_index = static_cast<std::uint32_t>(record_.writes.size());
    not_durable_.push_back(pending->write_index);
    RecordedWrite& write = record_.writes.emplace_back();
    write.addr = bio.addr;
    write.length = bio.length;
    write.fua = bio.fua;
    write.submitted = moment_;
    write.data = record_.bytes.size();
    for (unsigned i = 0; i < bio.segment_count; ++i) {
      const auto* data = static_cast<const std::byte*>(bio.segments[i].iov_base);
      record_.bytes.insert(record_.bytes.end(), data, data + bio.segments[i].iov_len);
    }
    if (pending->faulty) {
      if (pending->fault == FaultKind::lost_write) write.length = 0;
      if (pending->fault == FaultKind::misdirected_write)
        write.addr = (write.addr + misdirection_bytes) % (geometry_.size_bytes - write.length);
    }
    record_.crash_moments.push_back(moment_);
  }
  pending_.push_back(std::move(pending));
}

std::uint64_t SimDevice::moment() {
  ++moment_;
  if (recording_) record_.crash_moments.push_back(moment_);
  return moment_;
}

void SimDevice::poke(std::uint64_t addr, std::span<const std::byte> from) {
  if (from.empty()) return;
  if (!marks_.empty()) {
    undo_.push_back({addr, undo_bytes_.size(), static_cast<std::uint32_t>(from.size())});
    undo_bytes_.insert(undo_bytes_.end(), image_ + addr, image_ + addr + from.size());
  }
  std::memcpy(image_ + addr, from.data(), from.size());
}

void SimDevice::mark() {
  marks_.push_back(undo_.size());
}

void SimDevice::rollback() {
  HB_ASSERT(!marks_.empty(), "what is rolled back was marked");
  while (undo_.size() > marks_.back()) {
    const Undo& undo = undo_.back();
    std::memcpy(image_ + undo.addr, undo_bytes_.data() + undo.data, undo.length);
    undo_bytes_.resize(undo.data);
    undo_.pop_back();
  }
  marks_.pop_back();
}

void SimDevice::store(const Bio& bio, std::uint64_t addr, std::uint32_t length) {
  if (!previous_.empty()) std::memcpy(previous_.data() + addr, image_ + addr, length);
  if (!latent_.empty()) {
    std::erase_if(latent_, [&](std::uint64_t block) {
      return block * geometry_.logical_block_bytes >= addr &&
             block * geometry_.logical_block_bytes < addr + length;
    });
  }
  for (unsigned i = 0; i < bio.segment_count && length != 0; ++i) {
    const auto* data = static_cast<const std::byte*>(bio.segments[i].iov_base);
    const auto part =
        std::min<std::uint32_t>(length, static_cast<std::uint32_t>(bio.segments[i].iov_len));
    poke(addr, {data, part});
    addr += part;
    length -= part;
  }
}

void SimDevice::carry_out_write(Pending& pending) noexcept {
  Bio& bio = *pending.bio;
  std::uint64_t addr = bio.addr;
  std::uint32_t length = bio.length;
  bool covers = true;
  bio.result = IoResult::success(bio.length);
  if (pending.faulty) {
    const std::uint32_t blocks = bio.length / geometry_.logical_block_bytes;
    const auto part =
        static_cast<std::uint32_t>(random_.below(blocks + 1)) * geometry_.logical_block_bytes;
    switch (pending.fault) {
      case FaultKind::lost_write:
        length = 0;
        break;
      case FaultKind::misdirected_write:
        addr = (addr + misdirection_bytes) % (geometry_.size_bytes - length);
        break;
      case FaultKind::io_error:
      case FaultKind::io_error_sticky:
      case FaultKind::latent_error:
        length = part;
        covers = false;
        bio.result = IoResult::host_failure(EIO);
        break;
      case FaultKind::short_transfer:
        length = blocks / 2 * geometry_.logical_block_bytes;
        covers = false;
        bio.result = IoResult::failure(Errc::io, IoDetail::none, length);
        break;
      case FaultKind::again:
      case FaultKind::no_space:
      case FaultKind::no_memory:
      case FaultKind::gone:
        length = 0;
        bio.result = refusal(pending.fault);
        break;
      default:
        break;
    }
  }
  store(bio, addr, length);
  if (!pending.recorded) return;
  RecordedWrite& write = record_.writes[pending.write_index];
  write.length = std::min(write.length, length);
  write.ended = moment_;
  if (covers && (bio.fua || !geometry_.volatile_cache)) {
    write.durable = moment_;
    std::erase(not_durable_, pending.write_index);
    record_.crash_moments.push_back(moment_);
  }
}

void SimDevice::carry_out_read(Pending& pending) noexcept {
  Bio& bio = *pending.bio;
  bio.result = IoResult::success(bio.length);
  std::uint64_t addr = bio.addr;
  std::uint32_t length = bio.length;
  const std::byte* from = image_;
  if (pending.faulty) {
    switch (pending.fault) {
      case FaultKind::misdirected_read:
        addr = (addr + misdirection_bytes) % (geometry_.size_bytes - length);
        break;
      case FaultKind::stale_read:
        from = previous_.data();
        break;
      case FaultKind::bit_rot: {
        const std::uint64_t at = addr + random_.below(length);
        const std::byte rotten = image_[at] ^ static_cast<std::byte>(1U << random_.below(8));
        poke(at, {&rotten, 1});
        break;
      }
      case FaultKind::latent_error:
        for (std::uint64_t at = addr; at < addr + length; at += geometry_.logical_block_bytes)
          latent_.push_back(at / geometry_.logical_block_bytes);
        break;
      case FaultKind::io_error:
      case FaultKind::io_error_sticky:
        length = 0;
        bio.result = IoResult::host_failure(EIO);
        break;
      case FaultKind::short_transfer:
        length = bio.length / geometry_.logical_block_bytes / 2 * geometry_.logical_block_bytes;
        bio.result = IoResult::failure(Errc::io, IoDetail::none, length);
        break;
      case FaultKind::again:
      case FaultKind::no_space:
      case FaultKind::no_memory:
      case FaultKind::gone:
        length = 0;
        bio.result = refusal(pending.fault);
        break;
      default:
        break;
    }
  }
  for (const std::uint64_t block : latent_) {
    const std::uint64_t at = block * geometry_.logical_block_bytes;
    if (at >= addr + length || at + geometry_.logical_block_bytes <= addr) continue;
    bio.result = IoResult::host_failure(EIO);
    return;
  }
  for (unsigned i = 0; i < bio.segment_count && length != 0; ++i) {
    const auto part =
        std::min<std::uint32_t>(length, static_cast<std::uint32_t>(bio.segments[i].iov_len));
    std::memcpy(bio.segments[i].iov_base, from + addr, part);
    addr += part;
    length -= part;
  }
}

void SimDevice::flush_ended(const Pending& pending) noexcept {
  Bio& bio = *pending.bio;
  bio.result = IoResult::success(0);
  const bool ignored = pending.faulty && pending.fault == FaultKind::ignored_flush;
  bool failed = false;
  if (pending.faulty) {
    switch (pending.fault) {
      case FaultKind::failed_flush:
      case FaultKind::io_error:
      case FaultKind::io_error_sticky:
      case FaultKind::short_transfer:
        bio.result = IoResult::host_failure(EIO);
        failed = true;
        break;
      case FaultKind::again:
        bio.result = IoResult::host_failure(EAGAIN);
        failed = true;
        break;
      case FaultKind::no_space:
        bio.result = IoResult::host_failure(ENOSPC);
        failed = true;
        break;
      case FaultKind::no_memory:
        bio.result = IoResult::host_failure(ENOMEM);
        failed = true;
        break;
      case FaultKind::gone:
        bio.result = IoResult::host_failure(ENODEV);
        failed = true;
        break;
      default:
        break;
    }
  }
  if (!recording_ || ignored) return;
  std::erase_if(not_durable_, [&](std::uint32_t index) {
    RecordedWrite& write = record_.writes[index];
    if (write.dropped || write.ended == never || write.ended > pending.submitted) return false;
    if (failed) {
      write.dropped = true;
      return false;
    }
    write.durable = moment_;
    return true;
  });
  record_.crash_moments.push_back(moment_);
}

void SimDevice::carry_out(Pending& pending) noexcept {
  ++moment_;
  switch (pending.bio->op) {
    case BioOp::read:
      carry_out_read(pending);
      break;
    case BioOp::write:
      carry_out_write(pending);
      break;
    case BioOp::flush:
      flush_ended(pending);
      break;
  }
  note(mix(moment_, pending.bio->result.bytes() + (pending.bio->result.ok() ? 0 : 1U << 31)));
}

void SimDevice::start_recording() {
  HB_ASSERT(pending_.empty(), "recording starts when nothing is in flight");
  record_.writes.clear();
  record_.bytes.clear();
  record_.crash_moments.clear();
  not_durable_.clear();
  record_.begun = moment_;
  recording_ = true;
}

}  // namespace handback::sim
