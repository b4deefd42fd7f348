#include "common/transfer_ring.h"

namespace tool {
namespace {

constexpr std::int64_t wait_ns_max = 100'000'000;

// Enough for a batch to be worth a system call, few enough that the device never idles while the
// caller fills buffers.
constexpr unsigned submissions_per_kick = 8;

void mark_delivered(handback::Aiocb& aiocb) noexcept {
  static_cast<Transfer&>(aiocb).state = Transfer::State::delivered;
}

}  // namespace

TransferRing::TransferRing(handback::Issuer& issuer, unsigned count, std::uint32_t transfer_bytes)
    : issuer_(issuer),
      count_(count),
      transfer_bytes_(transfer_bytes),
      memory_(std::size_t{count} * transfer_bytes),
      transfers_(std::make_unique<Transfer[]>(count)) {
  for (unsigned i = 0; i < count; ++i) {
    transfers_[i].buffer = memory_.span().subspan(std::size_t{i} * transfer_bytes, transfer_bytes);
  }
  issuer_.register_buffer(memory_.span());
}

TransferRing::~TransferRing() {
  while (any_in_flight())
    issuer_.wait(wait_ns_max);
  issuer_.unregister_buffer(memory_.span());
}

bool TransferRing::any_in_flight() const {
  for (unsigned i = 0; i < count_; ++i) {
    if (transfers_[i].state == Transfer::State::in_flight) return true;
  }
  return false;
}

Transfer& TransferRing::claim() {
  Transfer& transfer = transfers_[claimed_++ % count_];
  transfer.state = Transfer::State::claimed;
  transfer.repeated = false;
  return transfer;
}

void TransferRing::submit_read(Transfer& transfer, handback::File& file,
                               std::uint32_t request_bytes) {
  transfer.state = Transfer::State::in_flight;
  transfer.prepare_read(file, transfer.offset, transfer.buffer.first(request_bytes),
                        mark_delivered);
  submit(transfer);
}

void TransferRing::submit_write(Transfer& transfer, handback::File& file,
                                std::uint32_t request_bytes) {
  transfer.state = Transfer::State::in_flight;
  transfer.prepare_write(file, transfer.offset, transfer.buffer.first(request_bytes),
                         handback::KiocbFlags::none, mark_delivered);
  submit(transfer);
}

void TransferRing::submit(Transfer& transfer) {
  issuer_.submit(transfer);
  if (++submissions_ % submissions_per_kick == 0) issuer_.kick();
}

Transfer& TransferRing::oldest() {
  Transfer& transfer = transfers_[released_ % count_];
  while (transfer.state == Transfer::State::in_flight)
    issuer_.wait(wait_ns_max);
  return transfer;
}

void TransferRing::release_oldest() {
  transfers_[released_++ % count_].state = Transfer::State::idle;
}

}  // namespace tool
