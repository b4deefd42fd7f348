#include <handback/bio_group.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "base/assert.h"
#include "base/planted_bug.h"
#include "issuer/abandoned_buffer.h"
#include "issuer/issuer_impl.h"

namespace handback {

BioGroup::BioGroup(Issuer& issuer, BlockDevice& device) : issuer_(&issuer), device_(&device) {}
BioGroup::~BioGroup() {
  HB_ASSERT(left_.load(std::memory_order_acquire) == 0, "a group of bios goes when all have ended");
}

void BioGroup::add(BioOp op, std::uint64_t addr, std::byte* data, std::size_t length, bool fua) {
  const std::size_t limit = device_->geometry().transfer_bytes_max;
  do {
    const std::size_t part = std::min(length, limit);
    Bio& bio = bios_.emplace_back();
    bio.op = op;
    bio.addr = addr;
    bio.fua = fua;
    if (part != 0) bio.add_segment(data, part);
    bio.end_io = &BioGroup::bio_end;
    bio.private_ = this;
    addr += part;
    if (data != nullptr) data += part;
    length -= part;
  } while (length != 0);
}

void BioGroup::read(std::uint64_t addr, std::span<std::byte> to) {
  if (!to.empty()) add(BioOp::read, addr, to.data(), to.size(), false);
}

void BioGroup::write(std::uint64_t addr, std::span<const std::byte> from, bool fua) {
  // A bio has one pointer for both directions; writes only read the memory.
  if (!from.empty()) add(BioOp::write, addr, const_cast<std::byte*>(from.data()), from.size(), fua);
}

void BioGroup::flush() {
  add(BioOp::flush, 0, nullptr, 0, false);
}

void BioGroup::start(Ended ended, void* owner) noexcept {
  check_may(Acts::submit);
  Issuer::Impl& here = Issuer::Impl::executor(issuer_->impl());
  // It must see this through before it goes: no request of its own need be in flight (an adopter's
  // is not, nor is one whose end_io starts what another request waits for).
  here.begin_background();
  issuer_ = &here.self();
  ended_ = ended;
  owner_ = owner;
  run = [](IssuerWork& work) noexcept {
    auto& group = static_cast<BioGroup&>(work);
    Issuer::Impl& served = group.issuer_->impl();
    group.ended_(group, group.owner_);
    served.end_background();
  };
  BlockQueue* queue = here.queue_for(*device_);
  if (queue == nullptr || bios_.empty()) {
    if (queue == nullptr) {
      first_error_.store(std::bit_cast<std::uint64_t>(IoResult::host_failure(EIO)),
                         std::memory_order_relaxed);
    }
    all_ended();
    return;
  }
  for (std::size_t i = 0; i + 1 < bios_.size(); ++i)
    bios_[i].next = &bios_[i + 1];
  left_.store(bios_.size(), std::memory_order_relaxed);
  const ShieldScope shield;
  queue->submit(&bios_.front());
}

void BioGroup::all_ended() noexcept {
  if (owner_waits_) {
    issuer_->impl().notify(*this);
  } else {
    issuer_->impl().post(*this);
  }
}

void BioGroup::bio_end(Bio& bio) noexcept {
  auto& group = *static_cast<BioGroup*>(bio.private_);
  if (!bio.result.ok()) {
    if (bio.result.code() == Errc::timed_out)
      group.unanswered_.store(true, std::memory_order_relaxed);
    std::uint64_t none = 0;
    group.first_error_.compare_exchange_strong(
        none, std::bit_cast<std::uint64_t>(bio.result.with_bytes(0)), std::memory_order_relaxed);
  }
  const std::size_t left = group.left_.fetch_sub(1, std::memory_order_acq_rel);
  std::size_t last = planted(PlantedBug::bio_group_ends_early) ? group.bios_.size() : 1;
  if (left == last) group.all_ended();
}

IoResult BioGroup::run_and_wait() noexcept {
  bool done = false;
  keep_to_owner();
  start([](BioGroup&, void* flag) noexcept { *static_cast<bool*>(flag) = true; }, &done);
  issuer_->impl().wait_until([&] { return done; });
  return result();
}

void BioGroup::keep_if_unanswered(AlignedBuffer& buffer) const {
  if (unanswered_.load(std::memory_order_relaxed)) abandon(std::move(buffer));
}

IoResult BioGroup::result() const noexcept {
  const std::uint64_t error = planted(PlantedBug::bio_group_swallows_errors)
                                  ? 0
                                  : first_error_.load(std::memory_order_relaxed);
  return error == 0 ? IoResult::success(0) : std::bit_cast<IoResult>(error);
}

}  // namespace handback
