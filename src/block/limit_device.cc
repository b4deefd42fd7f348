#include "block/limit_device.h"

#include <fmt/format.h>

#include "base/assert.h"
#include "block/bio_check.h"
#include "block/bio_queue.h"

namespace handback {
namespace {

bool is_within(const Geometry& narrow, const Geometry& wide) {
  return narrow.size_bytes <= wide.size_bytes &&
         narrow.logical_block_bytes >= wide.logical_block_bytes &&
         narrow.memory_alignment_bytes >= wide.memory_alignment_bytes &&
         narrow.transfer_bytes_max <= wide.transfer_bytes_max &&
         (narrow.volatile_cache || !wide.volatile_cache) &&
         (!narrow.fua || wide.fua || !wide.volatile_cache) &&
         (narrow.read_only || !wide.read_only) && narrow.stores_data == wide.stores_data;
}

class LimitQueue final : public BlockQueueDecorator {
 public:
  LimitQueue(std::unique_ptr<BlockQueue> queue, const Geometry& geometry)
      : BlockQueueDecorator(std::move(queue)), geometry_(geometry) {}
  ~LimitQueue() override {
    HB_ASSERT(refused_.empty(), "a queue is closed only when none of its bios is in flight");
  }

  void submit(Bio* chain) noexcept override {
    BioQueue passed;
    while (chain != nullptr) {
      Bio& bio = *chain;
      chain = bio.next;
      const IoResult verdict = check_bio(geometry_, bio);
      if (verdict.ok()) {
        passed.push(bio);
      } else {
        bio.result = verdict;
        refused_.push(bio);
      }
    }
    if (!passed.empty()) inner().submit(passed.take_all());
  }

  unsigned poll() noexcept override {
    const unsigned ended = end_bios(refused_.take_all());
    return ended + inner().poll();
  }

  void wait(std::int64_t timeout_ns) noexcept override {
    inner().wait(refused_.empty() ? timeout_ns : 0);
  }

 private:
  const Geometry& geometry_;
  BioQueue refused_;  // Have their result; end in the next poll().
};

}  // namespace

LimitDevice::LimitDevice(BlockDevice& inner, const Geometry& announced)
    : BlockDeviceDecorator(inner),
      geometry_(announced),
      name_(fmt::format("{}, limited", inner.name())) {
  HB_ASSERT(is_sound(geometry_), "a geometry has a size, and blocks of 512 or 4096 bytes");
  HB_ASSERT(is_within(geometry_, inner.geometry()),
            "a limit announces nothing that the device below does not have");
}

Result<std::unique_ptr<BlockQueue>> LimitDevice::open_queue(int wake_fd) {
  auto queue = inner().open_queue(wake_fd);
  if (!queue) return queue;
  return std::make_unique<LimitQueue>(std::move(*queue), geometry_);
}

}  // namespace handback
