// What tests use to talk to a device as an issuer does. For tests only.
#pragma once

#include <gtest/gtest.h>
#include <handback/block_device.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <span>
#include <thread>
#include <vector>

namespace handback::testing {

// Memory that may be carved into segments: aligned to 4096.
class TestMemory {
 public:
  explicit TestMemory(std::size_t bytes)
      : bytes_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{4096}))),
        size_(bytes) {
    std::memset(bytes_, 0, bytes);
  }
  TestMemory(const TestMemory&) = delete;
  TestMemory& operator=(const TestMemory&) = delete;
  ~TestMemory() { ::operator delete (bytes_, std::align_val_t{4096}); }

  [[nodiscard]] std::byte* data() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::span<std::byte> span() const { return {bytes_, size_}; }
  void fill(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < size_; i += sizeof(std::uint64_t)) {
      const std::uint64_t word = random();
      std::memcpy(bytes_ + i, &word, std::min(sizeof word, size_ - i));
    }
  }

 private:
  std::byte* bytes_;
  std::size_t size_;
};

class QueueDriver;

struct TestBio : Bio {
  QueueDriver* driver = nullptr;
  unsigned ends = 0;  // Guarded by the driver's mutex.
};

// Does what an issuer does: owns a queue, submits, sleeps, and is woken by bios that end elsewhere.
class QueueDriver {
 public:
  explicit QueueDriver(BlockDevice& device) : wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    auto queue = device.open_queue(wake_fd_);
    EXPECT_TRUE(queue) << (queue ? "" : queue.error().message());
    if (queue) queue_ = std::move(*queue);
  }
  QueueDriver(const QueueDriver&) = delete;
  QueueDriver& operator=(const QueueDriver&) = delete;
  ~QueueDriver() {
    queue_.reset();
    ::close(wake_fd_);
  }

  [[nodiscard]] BlockQueue& queue() { return *queue_; }
  [[nodiscard]] int wake_fd() const { return wake_fd_; }

  // A bio that lives as long as the driver.
  TestBio& bio(BioOp op, std::uint64_t addr) {
    TestBio& bio = bios_.emplace_back();
    bio.op = op;
    bio.addr = addr;
    return bio;
  }
  TestBio& bio(BioOp op, std::uint64_t addr, void* data, std::size_t bytes) {
    TestBio& made = bio(op, addr);
    made.add_segment(data, bytes);
    return made;
  }

  // As one chain.
  void submit(const std::vector<TestBio*>& batch) {
    Bio* chain = nullptr;
    for (auto bio = batch.rbegin(); bio != batch.rend(); ++bio) {
      (*bio)->driver = this;
      (*bio)->end_io = &QueueDriver::end_io;
      (*bio)->next = chain;
      chain = *bio;
    }
    submitted_ += batch.size();
    submitting_ = this;
    queue_->submit(chain);
    submitting_ = nullptr;
  }

  [[nodiscard]] std::size_t ended() {
    const std::lock_guard lock(mutex_);
    return ended_;
  }

  void drain_wake() const {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake_fd_, &count, sizeof count);
  }

  void finish() {
    for (;;) {
      drain_wake();  // Before looking: what ends afterwards makes it readable again.
      queue_->poll();
      if (ended() == submitted_) return;
      queue_->wait(-1);
    }
  }

  IoResult run(TestBio& bio) {
    const unsigned ends_before = bio.ends;
    submit({&bio});
    finish();
    EXPECT_EQ(bio.ends, ends_before + 1);
    return bio.result;
  }
  IoResult run(BioOp op, std::uint64_t addr, void* data, std::size_t bytes) {
    return run(bio(op, addr, data, bytes));
  }
  IoResult flush() { return run(bio(BioOp::flush, 0)); }

 private:
  static void end_io(Bio& ended) noexcept {
    auto& bio = static_cast<TestBio&>(ended);
    bio.driver->note_end(bio);
  }
  void note_end(TestBio& bio) noexcept {
    EXPECT_NE(submitting_, this) << "a bio ended inside submit()";
    // Everything under the lock: whoever sees the count may destroy the driver, but not before it
    // is free.
    const std::lock_guard lock(mutex_);
    ++bio.ends;
    ++ended_;
    if (std::this_thread::get_id() == owner_) return;
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(wake_fd_, &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }

  static inline thread_local const QueueDriver* submitting_ = nullptr;

  const int wake_fd_;
  const std::thread::id owner_ = std::this_thread::get_id();
  std::deque<TestBio> bios_;
  std::size_t submitted_ = 0;
  std::mutex mutex_;
  std::size_t ended_ = 0;
  std::unique_ptr<BlockQueue> queue_;
};

}  // namespace handback::testing
