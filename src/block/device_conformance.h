// What every block device must do, as tests: each room that has devices instantiates this suite.
// For tests only, and for one file of a test program.
//
// Goal: whoever holds a BlockDevice need not know which. Method: every promise of block_device.h is
// tried, the results are compared exactly, data is compared with a shadow copy, and nothing waits
// by sleeping.
#pragma once

#include <gtest/gtest.h>
#include <handback/block_device.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "block/bio_check.h"
#include "block/queue_driver.h"
#include "block/random_work.h"

namespace handback::testing {

struct DeviceRequest {
  std::uint64_t size_bytes = 4U << 20;
  unsigned queue_depth = 64;  // Where the device has such a limit.
  bool read_only = false;
};

struct DeviceUnderTest {
  std::string name;
  // A device with nothing but zeros that owns all it needs. Errc::not_supported skips the test.
  std::function<Result<std::shared_ptr<BlockDevice>>(const DeviceRequest&)> make;
};

inline std::ostream& operator<<(std::ostream& out, const DeviceUnderTest& device) {
  return out << device.name;
}

class BlockDeviceConformance : public ::testing::TestWithParam<DeviceUnderTest> {
 protected:
  // False if the test is over.
  bool make(const DeviceRequest& request = {}) {
    auto made = GetParam().make(request);
    if (made) {
      device_ = std::move(*made);
      return true;
    }
    if (made.error().code() == Errc::not_supported) {
      skip_reason_ = made.error().message();
    } else {
      ADD_FAILURE() << made.error().message();
    }
    return false;
  }

  [[nodiscard]] const Geometry& geometry() const { return device_->geometry(); }
  [[nodiscard]] std::uint32_t block() const { return geometry().logical_block_bytes; }
  void expect_same(const void* a, const void* b, std::size_t bytes) const {
    if (!geometry().stores_data) return;
    EXPECT_EQ(std::memcmp(a, b, bytes), 0);
  }

  std::shared_ptr<BlockDevice> device_;
  std::string skip_reason_;
};

#define HB_MAKE_DEVICE(...)                                  \
  if (!make(__VA_ARGS__)) {                                  \
    if (!skip_reason_.empty()) GTEST_SKIP() << skip_reason_; \
    return;                                                  \
  }

TEST_P(BlockDeviceConformance, AnnouncesASoundGeometry) {
  HB_MAKE_DEVICE();
  EXPECT_TRUE(is_sound(geometry()));
  EXPECT_EQ(geometry().size_bytes, DeviceRequest{}.size_bytes);
  EXPECT_FALSE(geometry().read_only);
  EXPECT_FALSE(device_->name().empty());
}

TEST_P(BlockDeviceConformance, ReadsZerosAtFirstAndThenWhatWasWritten) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory written(block());
  TestMemory zeros(block());
  TestMemory read(block());
  written.fill(1);
  const std::uint64_t addr = 7ULL * block();
  EXPECT_EQ(driver.run(BioOp::read, addr, read.data(), block()), IoResult::success(block()));
  expect_same(read.data(), zeros.data(), block());
  EXPECT_EQ(driver.run(BioOp::write, addr, written.data(), block()), IoResult::success(block()));
  EXPECT_EQ(driver.run(BioOp::read, addr, read.data(), block()), IoResult::success(block()));
  expect_same(read.data(), written.data(), block());
}

TEST_P(BlockDeviceConformance, TransfersTheFirstAndTheLastBlock) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory written(2U * block());
  TestMemory read(block());
  written.fill(2);
  const std::uint64_t last = geometry().size_bytes - block();
  EXPECT_EQ(driver.run(BioOp::write, 0, written.data(), block()), IoResult::success(block()));
  EXPECT_EQ(driver.run(BioOp::write, last, written.data() + block(), block()),
            IoResult::success(block()));
  EXPECT_EQ(driver.run(BioOp::read, 0, read.data(), block()), IoResult::success(block()));
  expect_same(read.data(), written.data(), block());
  EXPECT_EQ(driver.run(BioOp::read, last, read.data(), block()), IoResult::success(block()));
  expect_same(read.data(), written.data() + block(), block());
}

TEST_P(BlockDeviceConformance, EndsEveryBioOfABatchExactlyOnce) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  constexpr unsigned count = 48;
  TestMemory written(std::size_t{count} * block());
  TestMemory read(std::size_t{count} * block());
  written.fill(3);
  std::vector<TestBio*> writes;
  std::vector<TestBio*> reads;
  for (unsigned i = 0; i < count; ++i) {
    const unsigned place = (i * 29) % count;  // Not in the order of the device.
    const std::size_t at = std::size_t{place} * block();
    writes.push_back(&driver.bio(BioOp::write, at, written.data() + at, block()));
    reads.push_back(&driver.bio(BioOp::read, at, read.data() + at, block()));
  }
  driver.submit(writes);
  driver.finish();
  driver.submit(reads);
  driver.finish();
  for (unsigned i = 0; i < 3; ++i)
    driver.queue().poll();  // Nothing is ended again.
  EXPECT_EQ(driver.ended(), 2U * count);
  for (const auto* batch : {&writes, &reads}) {
    for (const TestBio* bio : *batch) {
      EXPECT_EQ(bio->ends, 1U);
      EXPECT_EQ(bio->result, IoResult::success(block()));
    }
  }
  expect_same(read.data(), written.data(), read.size());
}

TEST_P(BlockDeviceConformance, EndsTheSameBioAgainWhenItIsSubmittedAgain) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory memory(block());
  TestBio& bio = driver.bio(BioOp::write, 0, memory.data(), block());
  for (unsigned i = 0; i < 20; ++i)
    EXPECT_EQ(driver.run(bio), IoResult::success(block()));
  EXPECT_EQ(bio.ends, 20U);
}

TEST_P(BlockDeviceConformance, TransfersSegmentsAsOneContiguousRange) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory written(10U * block());
  TestMemory read(10U * block());
  written.fill(4);
  // Written from segments that lie in memory in another order than on the device, read in one
  // piece.
  TestBio& write = driver.bio(BioOp::write, 16ULL * block());
  write.add_segment(written.data() + 6U * block(), 4U * block());
  write.add_segment(written.data(), 1U * block());
  write.add_segment(written.data() + 3U * block(), 3U * block());
  write.add_segment(written.data() + 1U * block(), 2U * block());
  EXPECT_EQ(driver.run(write), IoResult::success(10U * block()));
  EXPECT_EQ(driver.run(BioOp::read, 16ULL * block(), read.data(), read.size()),
            IoResult::success(10U * block()));
  expect_same(read.data(), written.data() + 6U * block(), 4U * block());
  expect_same(read.data() + 4U * block(), written.data(), 1U * block());
  expect_same(read.data() + 5U * block(), written.data() + 3U * block(), 3U * block());
  expect_same(read.data() + 8U * block(), written.data() + 1U * block(), 2U * block());
  // And the other way round.
  TestMemory scattered(10U * block());
  TestBio& scatter = driver.bio(BioOp::read, 16ULL * block());
  scatter.add_segment(scattered.data() + 6U * block(), 4U * block());
  scatter.add_segment(scattered.data(), 6U * block());
  EXPECT_EQ(driver.run(scatter), IoResult::success(10U * block()));
  expect_same(scattered.data() + 6U * block(), read.data(), 4U * block());
  expect_same(scattered.data(), read.data() + 4U * block(), 6U * block());
}

TEST_P(BlockDeviceConformance, TransfersTheLargestBioInOne) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  const std::uint32_t length = geometry().transfer_bytes_max;
  TestMemory written(length);
  TestMemory read(length);
  written.fill(5);
  const std::uint64_t addr = geometry().size_bytes - length;
  EXPECT_EQ(driver.run(BioOp::write, addr, written.data(), length), IoResult::success(length));
  EXPECT_EQ(driver.run(BioOp::read, addr, read.data(), length), IoResult::success(length));
  expect_same(read.data(), written.data(), length);
}

TEST_P(BlockDeviceConformance, RefusesWhatBreaksTheGeometryExactly) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory memory(std::size_t{geometry().transfer_bytes_max} + 2U * block());
  std::byte* const data = memory.data();
  const std::uint64_t size = geometry().size_bytes;
  struct Wrong {
    TestBio* bio;
    IoResult expected;
  };
  std::vector<Wrong> table;
  const auto invalid = [](IoDetail detail) { return IoResult::failure(Errc::invalid, detail); };
  const auto add = [&](BioOp op, std::uint64_t addr, void* at, std::size_t bytes,
                       IoResult expected) {
    table.push_back({&driver.bio(op, addr, at, bytes), expected});
  };
  for (const BioOp op : {BioOp::read, BioOp::write}) {
    add(op, 1, data, block(), invalid(IoDetail::offset_unaligned));
    add(op, block() / 2, data, block(), invalid(IoDetail::offset_unaligned));
    add(op, 0, data, block() / 2, invalid(IoDetail::length_unaligned));
    add(op, 0, data, block() + 1U, invalid(IoDetail::length_unaligned));
    if (geometry().memory_alignment_bytes > 1) {
      add(op, 0, data + geometry().memory_alignment_bytes / 2, block(),
          invalid(IoDetail::buffer_unaligned));
    }
    add(op, 0, data, std::size_t{geometry().transfer_bytes_max} + block(),
        invalid(IoDetail::length_beyond_limit));
    const auto beyond = IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit);
    add(op, size, data, block(), beyond);
    add(op, size - block(), data, 2U * block(), beyond);
    add(op, ~std::uint64_t{0} - (block() - 1U), data, block(), beyond);
    // Shape.
    table.push_back({&driver.bio(op, 0), IoResult::failure(Errc::invalid)});
    TestBio& sum = driver.bio(op, 0, data, block());
    sum.length += block();
    table.push_back({&sum, IoResult::failure(Errc::invalid)});
    TestBio& empty_segment = driver.bio(op, 0, data, block());
    empty_segment.add_segment(data, 0);
    table.push_back({&empty_segment, IoResult::failure(Errc::invalid)});
    // One segment of several is enough: the sum is aligned here.
    TestBio& segment = driver.bio(op, 0, data, block() / 2);
    segment.add_segment(data + block(), block() / 2);
    table.push_back({&segment, invalid(IoDetail::length_unaligned)});
  }
  TestBio& fua_read = driver.bio(BioOp::read, 0, data, block());
  fua_read.fua = true;
  table.push_back({&fua_read, IoResult::failure(Errc::invalid)});
  table.push_back({&driver.bio(BioOp::flush, 0, data, block()), IoResult::failure(Errc::invalid)});
  TestBio& fua_flush = driver.bio(BioOp::flush, 0);
  fua_flush.fua = true;
  table.push_back({&fua_flush, IoResult::failure(Errc::invalid)});

  std::vector<TestBio*> batch;
  for (const Wrong& wrong : table)
    batch.push_back(wrong.bio);
  driver.submit(batch);
  driver.finish();
  for (std::size_t i = 0; i < table.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(table[i].bio->ends, 1U);
    EXPECT_EQ(table[i].bio->result, table[i].expected)
        << describe(table[i].bio->result) << ", expected " << describe(table[i].expected);
  }
}

TEST_P(BlockDeviceConformance, ARefusedBioLeavesTheOthersOfItsBatchAlone) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory written(2U * block());
  TestMemory read(2U * block());
  written.fill(6);
  TestBio& first = driver.bio(BioOp::write, 0, written.data(), block());
  TestBio& wrong = driver.bio(BioOp::write, geometry().size_bytes, written.data(), block());
  TestBio& second = driver.bio(BioOp::write, block(), written.data() + block(), block());
  driver.submit({&first, &wrong, &second});
  driver.finish();
  EXPECT_EQ(first.result, IoResult::success(block()));
  EXPECT_EQ(wrong.result, IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit));
  EXPECT_EQ(second.result, IoResult::success(block()));
  EXPECT_EQ(driver.run(BioOp::read, 0, read.data(), 2U * block()), IoResult::success(2U * block()));
  expect_same(read.data(), written.data(), 2U * block());
}

TEST_P(BlockDeviceConformance, AReadOnlyDeviceReadsAndRefusesWrites) {
  DeviceRequest request;
  request.read_only = true;
  HB_MAKE_DEVICE(request);
  ASSERT_TRUE(geometry().read_only);
  QueueDriver driver(*device_);
  TestMemory memory(block());
  TestMemory zeros(block());
  memory.fill(7);
  EXPECT_EQ(driver.run(BioOp::write, 0, memory.data(), block()),
            IoResult::failure(Errc::read_only));
  EXPECT_EQ(driver.run(BioOp::read, 0, memory.data(), block()), IoResult::success(block()));
  expect_same(memory.data(), zeros.data(), block());
  EXPECT_EQ(driver.flush(), IoResult::success(0));
}

TEST_P(BlockDeviceConformance, FlushesAndWritesThroughTheCache) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory written(4U * block());
  TestMemory read(4U * block());
  written.fill(8);
  EXPECT_EQ(driver.flush(), IoResult::success(0));
  TestBio& single = driver.bio(BioOp::write, 0, written.data(), block());
  TestBio& several = driver.bio(BioOp::write, block());
  several.add_segment(written.data() + block(), block());
  several.add_segment(written.data() + 2U * block(), 2U * block());
  single.fua = several.fua = true;
  const bool can = geometry().fua || !geometry().volatile_cache;
  const auto expected = [&](std::uint32_t length) {
    return can ? IoResult::success(length) : IoResult::failure(Errc::invalid);
  };
  TestBio& flush = driver.bio(BioOp::flush, 0);
  driver.submit({&single, &flush, &several});
  driver.finish();
  EXPECT_EQ(single.result, expected(block()));
  EXPECT_EQ(several.result, expected(3U * block()));
  EXPECT_EQ(flush.result, IoResult::success(0));
  EXPECT_EQ(driver.run(BioOp::read, 0, read.data(), read.size()), IoResult::success(4U * block()));
  if (can) expect_same(read.data(), written.data(), read.size());
}

TEST_P(BlockDeviceConformance, TakesAnIoPriority) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory memory(block());
  constexpr std::uint16_t best_effort_lowest = (2U << 13) | 7U;
  for (const BioOp op : {BioOp::write, BioOp::read}) {
    TestBio& bio = driver.bio(op, 0, memory.data(), block());
    bio.ioprio = best_effort_lowest;
    EXPECT_EQ(driver.run(bio), IoResult::success(block()));
  }
  TestBio& flush = driver.bio(BioOp::flush, 0);
  flush.ioprio = best_effort_lowest;
  EXPECT_EQ(driver.run(flush), IoResult::success(0));
}

TEST_P(BlockDeviceConformance, TakesMoreBiosThanItsDepth) {
  DeviceRequest request;
  request.queue_depth = 4;
  HB_MAKE_DEVICE(request);
  QueueDriver driver(*device_);
  constexpr unsigned count = 300;
  TestMemory written(std::size_t{count} * block());
  TestMemory read(std::size_t{count} * block());
  written.fill(9);
  for (const BioOp op : {BioOp::write, BioOp::read}) {
    TestMemory& memory = op == BioOp::write ? written : read;
    std::vector<TestBio*> batch;
    for (unsigned i = 0; i < count; ++i) {
      const std::size_t at = std::size_t{i} * block();
      batch.push_back(&driver.bio(op, at, memory.data() + at, block()));
    }
    driver.submit({batch.begin(), batch.begin() + 7});
    driver.submit({batch.begin() + 7, batch.end()});
    driver.finish();
    for (const TestBio* bio : batch) {
      EXPECT_EQ(bio->ends, 1U);
      EXPECT_EQ(bio->result, IoResult::success(block()));
    }
  }
  expect_same(read.data(), written.data(), read.size());
}

TEST_P(BlockDeviceConformance, KickHandsOverWithoutEnding) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory memory(block());
  driver.queue().kick();  // Nothing to hand over.
  TestBio& bio = driver.bio(BioOp::write, 0, memory.data(), block());
  driver.submit({&bio});
  driver.queue().kick();
  driver.queue().kick();
  driver.finish();
  EXPECT_EQ(bio.ends, 1U);
  EXPECT_EQ(bio.result, IoResult::success(block()));
}

TEST_P(BlockDeviceConformance, PollingWithoutSleepingEndsBiosAndAlwaysReturns) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory memory(4U * block());
  for (std::size_t round = 1; round <= 200; ++round) {
    std::vector<TestBio*> batch;
    for (std::size_t i = 0; i < 4; ++i) {
      batch.push_back(&driver.bio(BioOp::write, i * block(), memory.data() + i * block(), block()));
    }
    driver.submit(batch);
    while (driver.ended() < 4 * round)
      driver.queue().poll();
    for (const TestBio* bio : batch)
      EXPECT_EQ(bio->result, IoResult::success(block()));
  }
}

TEST_P(BlockDeviceConformance, TheWaitFdTellsOfCompletions) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory memory(block());
  for (unsigned i = 0; i < 50; ++i) {
    TestBio& bio = driver.bio(BioOp::write, 0, memory.data(), block());
    driver.submit({&bio});
    for (;;) {
      driver.drain_wake();
      driver.queue().poll();
      if (driver.ended() == i + 1) break;
      std::array<pollfd, 2> fds{
          {{driver.queue().wait_fd(), POLLIN, 0}, {driver.wake_fd(), POLLIN, 0}}};
      ASSERT_EQ(::poll(fds.data(), fds.size(), -1) > 0, true);
    }
    EXPECT_EQ(bio.result, IoResult::success(block()));
  }
}

TEST_P(BlockDeviceConformance, TheWaitFdIsSilentWhenThereIsNothingToDo) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory memory(block());
  const std::uint64_t one = 1;
  for (unsigned i = 0; i < 10; ++i) {
    // A wake-up that ended a sleep must not leave the fd readable, or its owner would never sleep
    // again.
    ASSERT_EQ(::write(driver.wake_fd(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    driver.queue().wait(-1);
    EXPECT_EQ(driver.run(BioOp::write, 0, memory.data(), block()), IoResult::success(block()));
    driver.drain_wake();
    driver.queue().poll();
    pollfd fd{driver.queue().wait_fd(), POLLIN, 0};  // One of -1 is never readable.
    EXPECT_EQ(::poll(&fd, 1, 0), 0);
  }
}

TEST_P(BlockDeviceConformance, WaitReturnsWhenTheWakeFdIsWrittenByAnotherThread) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  TestMemory memory(block());
  for (unsigned i = 0; i < 200; ++i) {
    // Before, during or after the other thread's write: each must end the sleep.
    std::thread other([&driver] {
      const std::uint64_t one = 1;
      EXPECT_EQ(::write(driver.wake_fd(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    });
    for (;;) {
      driver.queue().wait(-1);
      std::uint64_t count = 0;
      if (::read(driver.wake_fd(), &count, sizeof count) == sizeof count) break;
      driver.queue().poll();
    }
    other.join();
    if (i % 4 == 0) driver.queue().poll();
    if (i % 8 == 0) {
      EXPECT_EQ(driver.run(BioOp::write, 0, memory.data(), block()), IoResult::success(block()));
    }
  }
}

TEST_P(BlockDeviceConformance, WaitDoesNotSleepWhileTheWakeFdStaysReadable) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(driver.wake_fd(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  for (unsigned i = 0; i < 10; ++i) {
    driver.queue().wait(-1);
    driver.queue().poll();
  }
}

TEST_P(BlockDeviceConformance, WaitHonoursItsLimit) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  driver.queue().wait(0);
  driver.queue().wait(1);
  driver.queue().wait(2'000'000);
  EXPECT_EQ(driver.queue().poll(), 0U);
}

TEST_P(BlockDeviceConformance, WorksWithoutAWakeFd) {
  HB_MAKE_DEVICE();
  auto queue = device_->open_queue(-1);
  ASSERT_TRUE(queue);
  (*queue)->wait(-1);  // Nothing could end this sleep.
  (*queue)->wait(1'000);
  TestMemory memory(block());
  std::atomic<unsigned> ends{0};
  Bio bio;
  bio.op = BioOp::write;
  bio.add_segment(memory.data(), block());
  bio.private_ = &ends;
  bio.end_io = [](Bio& ended) noexcept {
    static_cast<std::atomic<unsigned>*>(ended.private_)->fetch_add(1, std::memory_order_release);
  };
  (*queue)->submit(&bio);
  while (ends.load(std::memory_order_acquire) == 0) {
    (*queue)->poll();
    (*queue)->wait(-1);
  }
  EXPECT_EQ(bio.result, IoResult::success(block()));
}

TEST_P(BlockDeviceConformance, RegisteredMemoryTransfersLikeAnyOther) {
  HB_MAKE_DEVICE();
  QueueDriver driver(*device_);
  auto* const registers = dynamic_cast<RegistersBuffers*>(&driver.queue());
  TestMemory memory(16U * block());
  TestMemory written(8U * block());
  written.fill(10);
  // The middle of the memory; bios lie inside, outside and across its border.
  const std::span<std::byte> region = memory.span().subspan(4U * block(), 8U * block());
  for (unsigned round = 0; round < 3; ++round) {
    const bool registered =
        round != 1 && registers != nullptr && registers->register_buffer(region);
    for (const unsigned first_block : {0U, 2U, 4U, 6U, 8U, 10U, 12U}) {
      std::byte* const data = memory.data() + std::size_t{first_block} * block();
      const std::size_t bytes = 4U * block();
      const std::uint64_t addr = std::uint64_t{round * 7 + first_block} * block();
      std::memcpy(data, written.data() + block(), bytes);
      EXPECT_EQ(driver.run(BioOp::write, addr, data, bytes), IoResult::success(4U * block()));
      std::memset(data, 0, bytes);
      EXPECT_EQ(driver.run(BioOp::read, addr, data, bytes), IoResult::success(4U * block()));
      expect_same(data, written.data() + block(), bytes);
      TestBio& several = driver.bio(BioOp::read, addr, data, 2U * block());
      several.add_segment(data + 2U * block(), 2U * block());
      EXPECT_EQ(driver.run(several), IoResult::success(4U * block()));
      expect_same(data, written.data() + block(), bytes);
    }
    if (registered) registers->unregister_buffer(region);
  }
  // Memory may be registered in more pieces than there is room for: the rest works unregistered.
  TestMemory many(100U * block());
  for (std::size_t i = 0; registers != nullptr && i < 100; ++i) {
    registers->register_buffer(many.span().subspan(i * block(), block()));
  }
  EXPECT_EQ(driver.run(BioOp::write, 0, many.data() + 99U * block(), block()),
            IoResult::success(block()));
}

TEST_P(BlockDeviceConformance, ThousandsOfRandomBiosMatchAShadowCopy) {
  HB_MAKE_DEVICE();
  const std::uint64_t seed = test_seed();
  std::cout << "HB_SEED=" << seed << '\n';
  RandomWork(*device_, 0, geometry().size_bytes, seed).run(150, 40);
}

TEST_P(BlockDeviceConformance, TwoThreadsWithAQueueEachDoNotDisturbEachOther) {
  HB_MAKE_DEVICE();
  const std::uint64_t seed = test_seed();
  std::cout << "HB_SEED=" << seed << '\n';
  const std::uint64_t middle = geometry().size_bytes / 2;
  std::thread other([&] { RandomWork(*device_, 0, middle, seed).run(40, 30); });
  RandomWork(*device_, middle, geometry().size_bytes, seed + 1).run(40, 30);
  other.join();
}

TEST_P(BlockDeviceConformance, AQueueMayBeOpenedAndClosedAgainAndAgain) {
  HB_MAKE_DEVICE();
  TestMemory memory(block());
  for (unsigned i = 0; i < 10; ++i) {
    QueueDriver driver(*device_);
    EXPECT_EQ(driver.run(BioOp::write, 0, memory.data(), block()), IoResult::success(block()));
  }
}

class BlockDeviceConformanceDeathTest : public BlockDeviceConformance {};

TEST_P(BlockDeviceConformanceDeathTest, ClosingAQueueWithABioInFlightIsCaught) {
  HB_MAKE_DEVICE();
  TestMemory memory(block());
  EXPECT_DEATH(
      {
        auto queue = device_->open_queue(-1);
        Bio bio;
        bio.op = BioOp::read;
        bio.add_segment(memory.data(), block());
        bio.end_io = [](Bio&) noexcept {};
        (*queue)->submit(&bio);
        queue->reset();
      },
      "a queue is closed only when none of its bios is in flight");
}

#undef HB_MAKE_DEVICE

// HB_INSTANTIATE_CONFORMANCE(room, devices...) runs the suite over the DeviceUnderTest given.
#define HB_INSTANTIATE_CONFORMANCE(room, ...)                                                     \
  INSTANTIATE_TEST_SUITE_P(room, BlockDeviceConformance, ::testing::Values(__VA_ARGS__),          \
                           [](const auto& param_info) { return param_info.param.name; });         \
  INSTANTIATE_TEST_SUITE_P(room, BlockDeviceConformanceDeathTest, ::testing::Values(__VA_ARGS__), \
                           [](const auto& param_info) { return param_info.param.name; })

}  // namespace handback::testing
