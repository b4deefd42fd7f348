// A device whose bytes, bios and queues a test sees, and whose bios end when and where the test
// says.
#pragma once

#include <handback/block_device.h>
#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <ostream>
#include <vector>

#include "base/assert.h"
#include "base/context.h"
#include "block/bio_check.h"
#include "block/bio_queue.h"
#include "block/readable.h"

namespace handback::testing {

// What a device saw of a bio.
struct SeenBio {
  BioOp op = BioOp::read;
  std::uint64_t addr = 0;
  std::vector<std::uint32_t> segments;  // Bytes.
  bool fua = false;
  std::uint16_t ioprio = 0;

  friend bool operator==(const SeenBio&, const SeenBio&) = default;
  friend void PrintTo(const SeenBio& bio, std::ostream* out) {
    constexpr std::array<const char*, 3> names = {"read", "write", "flush"};
    *out << names[static_cast<unsigned>(bio.op)] << (bio.fua ? " fua" : "") << " at " << bio.addr
         << ": ";
    for (const std::uint32_t bytes : bio.segments)
      *out << bytes << ' ';
    if (bio.ioprio != 0) *out << "prio " << bio.ioprio;
  }
};

// Carries bios out when they end. Unless `hold` is set, they end in the next poll() of their queue.
// Thread class: any thread, except what it shows without a function; that is for when no other
// thread uses it.
class FakeDevice final : public BlockDevice {
 public:
  static Geometry default_geometry() {
    Geometry geometry;
    geometry.size_bytes = 1U << 20;
    geometry.memory_alignment_bytes = 1;
    return geometry;
  }

  explicit FakeDevice(const Geometry& geometry = default_geometry())
      : bytes(geometry.size_bytes), geometry_(geometry) {
    HB_ASSERT(is_sound(geometry), "a geometry has a size, and blocks of 512 or 4096 bytes");
  }

  [[nodiscard]] const Geometry& geometry() const noexcept override { return geometry_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Result<std::unique_ptr<BlockQueue>> open_queue(int wake_fd) override {
    if (open_error) return tl::unexpected(*open_error);
    ++queues_opened;
    return std::make_unique<Queue>(*this, wake_fd);
  }

  // --- what a test sees ---
  std::vector<std::byte> bytes;
  std::vector<SeenBio> seen;  // In order of submission.
  std::optional<Error> open_error;
  unsigned queues_opened = 0;
  unsigned queues_closed = 0;
  unsigned kicks = 0;
  bool pins_buffers = true;
  std::vector<std::byte*> pinned;
  std::vector<std::byte*> unpinned;

  [[nodiscard]] std::vector<SeenBio> take_seen() { return std::exchange(seen, {}); }

  // --- holding bios ---
  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    hold_ = held;
  }
  [[nodiscard]] std::size_t held_count() {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }
  // Blocks until that many bios are held.
  void wait_for_held(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_.size() >= count; });
  }

  // Ends the `index`-th oldest held bio on the calling thread, as a foreign thread of a real device
  // does. A failure ends it without touching any byte.
  void end_here(std::size_t index = 0, IoResult fault = IoResult::success(0)) {
    Bio& bio = take_held(index);
    carry_out(bio, fault);
    const ContextScope scope(Context::device);
    bio.end_io(bio);
  }
  // Ends it in the next poll() of its queue, behind those already told so.
  void end_in_poll(std::size_t index = 0, IoResult fault = IoResult::success(0)) {
    Bio& bio = take_held(index);
    carry_out(bio, fault);
    static_cast<Queue*>(bio.queue_private)->ended.push(bio);
  }
  void end_all_in_poll() {
    while (held_count() != 0)
      end_in_poll();
  }

 private:
  struct Queue final : BlockQueue, RegistersBuffers {
    Queue(FakeDevice& of, int fd) : device(of), wake_fd(fd) {}
    ~Queue() override {
      HB_ASSERT(ended.empty(), "a queue is closed only when none of its bios is in flight");
      ++device.queues_closed;
    }
    void submit(Bio* chain) noexcept override {
      while (chain != nullptr) {
        Bio& bio = *chain;
        chain = bio.next;
        bio.queue_private = this;
        if (!device.keep(bio)) ended.push(bio);
      }
    }
    void kick() noexcept override { ++device.kicks; }
    unsigned poll() noexcept override { return end_bios(ended.take_all()); }
    void wait(std::int64_t timeout_ns) noexcept override {
      if (timeout_ns == 0 || !ended.empty()) return;
      sleep_until_readable(wake_fd, -1, timeout_ns);
    }
    [[nodiscard]] int wait_fd() noexcept override { return -1; }
    bool register_buffer(std::span<std::byte> memory) noexcept override {
      device.pinned.push_back(memory.data());
      return device.pins_buffers;
    }
    void unregister_buffer(std::span<std::byte> memory) noexcept override {
      device.unpinned.push_back(memory.data());
    }

    FakeDevice& device;
    int wake_fd;
    BioQueue ended;
  };

  // True if the bio waits for the test.
  bool keep(Bio& bio) {
    const std::lock_guard lock(mutex_);
    SeenBio& saw = seen.emplace_back();
    saw.op = bio.op;
    saw.addr = bio.addr;
    saw.fua = bio.fua;
    saw.ioprio = bio.ioprio;
    for (unsigned i = 0; i < bio.segment_count; ++i)
      saw.segments.push_back(static_cast<std::uint32_t>(bio.segments[i].iov_len));
    if (hold_) {
      held_.push_back(&bio);
      changed_.notify_all();
      return true;
    }
    carry_out_locked(bio, IoResult::success(0));
    return false;
  }

  Bio& take_held(std::size_t index) {
    const std::lock_guard lock(mutex_);
    HB_ASSERT(index < held_.size(), "a test ends bios that are held");
    Bio& bio = *held_[index];
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    return bio;
  }

  void carry_out(Bio& bio, IoResult fault) {
    const std::lock_guard lock(mutex_);
    carry_out_locked(bio, fault);
  }

  void carry_out_locked(Bio& bio, IoResult fault) {
    bio.result = check_bio(geometry_, bio);
    if (!bio.result.ok()) return;
    if (!fault.ok()) {
      bio.result = fault;
      return;
    }
    std::byte* at = bytes.data() + bio.addr;
    for (unsigned i = 0; i < bio.segment_count; ++i) {
      const iovec& segment = bio.segments[i];
      if (bio.op == BioOp::read) {
        std::memcpy(segment.iov_base, at, segment.iov_len);
      } else {
        std::memcpy(at, segment.iov_base, segment.iov_len);
      }
      at += segment.iov_len;
    }
    bio.result = IoResult::success(bio.length);
  }

  Geometry geometry_;
  std::string name_ = "fake";
  std::mutex mutex_;  // Of all below, and `bytes` and `seen` while bios come and go.
  std::condition_variable changed_;
  bool hold_ = false;
  std::deque<Bio*> held_;
};

}  // namespace handback::testing
