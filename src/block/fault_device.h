// A device that fails chosen bios, and counts all of them, for the tests of the rooms above.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "block/decorators.h"

namespace handback::testing {

enum class FaultRepeat : std::uint8_t { once, for_ever };

struct FaultCounts {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t fua_writes = 0;  // Also among `writes`.
  std::uint64_t failed = 0;      // Also among the others.

  friend bool operator==(const FaultCounts&, const FaultCounts&) = default;
};

// Thread class: any thread; queues of several threads share the counts and the faults.
class FaultDevice final : public BlockDeviceDecorator {
 public:
  explicit FaultDevice(BlockDevice& inner) noexcept : BlockDeviceDecorator(inner) {}

  // The `nth` bio of kind `op` from now on (1: the next) ends with `result`, in poll() of its
  // queue; with for_ever so does every later one of that kind. Nothing of it reaches the inner
  // device, whatever result.bytes() says. Faults add up; the oldest that applies decides.
  // Requires: nth > 0, !result.ok().
  void fail(BioOp op, std::uint64_t nth, IoResult result, FaultRepeat repeat = FaultRepeat::once);

  // Forgets every fault.
  void heal();

  // Bios submitted since the device was made, or since reset_counts().
  [[nodiscard]] FaultCounts counts() const;
  void reset_counts();

  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override;

 private:
  friend class FaultQueue;
  struct Fault {
    BioOp op;
    std::uint64_t bios_before;  // That still pass.
    IoResult result;
    FaultRepeat repeat;
  };

  // Counts `bio`. Its fault, or success(0).
  IoResult judge(const Bio& bio);

  mutable std::mutex mutex_;
  std::vector<Fault> faults_;
  FaultCounts counts_;
};

}  // namespace handback::testing
