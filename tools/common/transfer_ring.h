// A fixed ring of transfers, each with its own aligned and registered buffer, used and given back
// in the order in which they were claimed.
//
// Order costs a little depth when the oldest transfer is the slowest, and makes everything above
// simple: data comes out in file order, and a file is complete when its last transfer is given
// back. Owner and thread: the issuer's.
#pragma once

#include <handback/issuer.h>
#include <cstdint>
#include <memory>
#include <span>

namespace tool {

inline constexpr unsigned transfers_default = 64;
inline constexpr std::uint32_t transfer_bytes_default = 128U << 10;

struct Transfer : handback::Aiocb {
  std::span<std::byte> buffer;
  std::uint64_t offset = 0;  // Bytes in the file.
  std::uint32_t length = 0;  // Bytes of it that belong to the file; the request may be padded.
  enum class State : std::uint8_t { idle, claimed, in_flight, delivered } state = State::idle;
  bool repeated = false;  // The owner's note that it was submitted once more.
};

class TransferRing {
 public:
  explicit TransferRing(handback::Issuer& issuer, unsigned count = transfers_default,
                        std::uint32_t transfer_bytes = transfer_bytes_default);
  TransferRing(const TransferRing&) = delete;
  TransferRing& operator=(const TransferRing&) = delete;
  // Waits for what is in flight.
  ~TransferRing();

  [[nodiscard]] bool full() const { return claimed_ - released_ == count_; }
  [[nodiscard]] bool empty() const { return claimed_ == released_; }
  [[nodiscard]] std::uint32_t transfer_bytes() const { return transfer_bytes_; }

  // Requires: not full. Then the transfer is either submitted, or marked delivered by the caller.
  Transfer& claim();
  // Reads or writes the first `request_bytes` of the buffer at `transfer.offset`.
  void submit_read(Transfer& transfer, handback::File& file, std::uint32_t request_bytes);
  void submit_write(Transfer& transfer, handback::File& file, std::uint32_t request_bytes);

  // The oldest transfer, once it was delivered; waits for it. Requires: not empty.
  Transfer& oldest();
  // Gives the oldest one back. Requires: oldest() returned it.
  void release_oldest();

 private:
  [[nodiscard]] bool any_in_flight() const;
  void submit(Transfer& transfer);

  handback::Issuer& issuer_;
  const unsigned count_;
  const std::uint32_t transfer_bytes_;
  handback::AlignedBuffer memory_;
  std::unique_ptr<Transfer[]> transfers_;
  std::uint64_t claimed_ = 0;
  std::uint64_t released_ = 0;
  std::uint64_t submissions_ = 0;
};

}  // namespace tool
