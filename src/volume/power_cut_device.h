// A device whose power can be cut at any moment: it remembers every write in order and makes, for a
// moment, the images that a power cut then could leave.
//
// What survives: everything that a flush or FUA covered before that moment; of the other writes
// submitted by then, any subset of their logical blocks. A flush covers the writes that had ended
// when it was submitted. Thread class: one thread.
#pragma once

#include <handback/memory_device.h>
#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <unordered_map>
#include <vector>

#include "block/decorators.h"

namespace handback::testing {

class PowerCutDevice final : public BlockDeviceDecorator {
 public:
  // `inner` is a memory device. `geometry` is what is announced.
  PowerCutDevice(BlockDevice& inner, bool volatile_cache, bool fua)
      : BlockDeviceDecorator(inner), geometry_(inner.geometry()) {
    geometry_.volatile_cache = volatile_cache;
    geometry_.fua = fua;
  }

  [[nodiscard]] const Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override {
    auto queue = inner().open_queue(wake_fd);
    if (!queue) return queue;
    return std::make_unique<Queue>(*this, std::move(*queue));
  }

  // Moments are counted: every submission and every end of a bio is one.
  [[nodiscard]] std::uint64_t now() const noexcept { return moment_; }

  // Writes to `target`, a device of the same size holding zeros, one image that a cut at `moment`
  // could leave.
  template <typename Random>
  void image_at(std::uint64_t moment, Random& random, std::span<std::byte> target) const {
    std::fill(target.begin(), target.end(), std::byte{0});
    lay_over(moment, random, target);
  }

  // The same over what `target`, the device before, holds already.
  template <typename Random>
  void lay_over(std::uint64_t moment, Random& random, std::span<std::byte> target) const {
    // One choice for the whole image makes the extremes (nothing, everything) as likely as
    // mixtures.
    const unsigned keep_of_8 = static_cast<unsigned>(random() % 9);
    const std::size_t block = geometry_.logical_block_bytes;
    for (const Write& write : writes_) {
      if (write.submitted > moment) break;
      const bool durable = write.durable <= moment;
      for (std::size_t at = 0; at < write.bytes.size(); at += block) {
        if (!durable && random() % 8 >= keep_of_8) continue;
        std::memcpy(target.data() + write.addr + at, write.bytes.data() + at, block);
      }
    }
  }

 private:
  static constexpr std::uint64_t never = ~std::uint64_t{0};
  struct Write {
    std::uint64_t addr;
    std::vector<std::byte> bytes;
    std::uint64_t submitted;
    std::uint64_t ended = never;
    std::uint64_t durable = never;
  };
  struct InFlight {
    PowerCutDevice* device;
    BioEnd end_io;
    void* private_;
    std::size_t write_index;
    std::uint64_t submitted;
    bool fua;
  };

  class Queue final : public BlockQueueDecorator {
   public:
    Queue(PowerCutDevice& device, std::unique_ptr<BlockQueue> inner_queue)
        : BlockQueueDecorator(std::move(inner_queue)), device_(device) {}
    void submit(Bio* chain) noexcept override {
      for (Bio* bio = chain; bio != nullptr; bio = bio->next)
        device_.submitted(*bio);
      inner().submit(chain);
    }

   private:
    PowerCutDevice& device_;
  };

  void submitted(Bio& bio) {
    ++moment_;
    if (bio.op == BioOp::read) return;
    auto* flight = new InFlight{this, bio.end_io, bio.private_, 0, moment_, bio.fua};
    if (bio.op == BioOp::write) {
      Write write{bio.addr, {}, moment_};
      for (unsigned i = 0; i < bio.segment_count; ++i) {
        const auto* data = static_cast<const std::byte*>(bio.segments[i].iov_base);
        write.bytes.insert(write.bytes.end(), data, data + bio.segments[i].iov_len);
      }
      flight->write_index = writes_.size();
      writes_.push_back(std::move(write));
    }
    bio.private_ = flight;
    bio.end_io = [](Bio& ended) noexcept {
      std::unique_ptr<InFlight> of(static_cast<InFlight*>(ended.private_));
      ended.private_ = of->private_;
      ended.end_io = of->end_io;
      of->device->ended(ended, *of);
      ended.end_io(ended);
    };
  }

  void ended(const Bio& bio, const InFlight& flight) {
    ++moment_;
    if (!bio.result.ok()) return;
    if (bio.op == BioOp::write) {
      Write& write = writes_[flight.write_index];
      write.ended = moment_;
      if (flight.fua || !geometry_.volatile_cache) write.durable = moment_;
    } else {
      for (Write& write : writes_) {
        if (write.ended < flight.submitted && write.durable == never) write.durable = moment_;
      }
    }
  }

  Geometry geometry_;
  std::uint64_t moment_ = 0;
  std::vector<Write> writes_;
};

}  // namespace handback::testing
