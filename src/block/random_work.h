// Random bios whose effect is known. For tests only.
#pragma once

#include <gtest/gtest.h>
#include <handback/block_device.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "block/queue_driver.h"

namespace handback::testing {

// HB_SEED replays a run.
inline std::uint64_t test_seed() {
  if (const char* const text = std::getenv("HB_SEED")) return std::strtoull(text, nullptr, 0);
  return std::random_device{}();
}

// Random, never overlapping bios on [begin, end) of a device, batch after batch, against a shadow
// copy.
class RandomWork {
 public:
  RandomWork(BlockDevice& device, std::uint64_t begin, std::uint64_t end, std::uint64_t seed)
      : geometry_(device.geometry()), driver_(device), begin_(begin), random_(seed) {
    shadow_.resize(end - begin);
  }

  void run(unsigned batches, unsigned bios_per_batch) {
    for (unsigned i = 0; i < batches && !::testing::Test::HasFailure(); ++i) {
      run_batch(1 + pick(bios_per_batch));
    }
    check_all();
  }

 private:
  struct Work {
    TestBio bio;
    std::vector<std::byte> expected;  // Of a read.
  };

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }

  void run_batch(std::uint64_t count) {
    const std::uint64_t block = geometry_.logical_block_bytes;
    const std::uint64_t blocks = shadow_.size() / block;
    std::vector<bool> taken(blocks);
    std::vector<Work> works(count);
    std::vector<TestBio*> batch;
    memory_used_ = 0;
    for (Work& work : works) {
      if (pick(16) == 0) {
        work.bio.op = BioOp::flush;
        batch.push_back(&work.bio);
        continue;
      }
      const std::uint64_t first = pick(blocks);
      std::uint64_t length = 0;
      while (length < 32 && first + length < blocks && !taken[first + length] && pick(12) != 0) {
        taken[first + length++] = true;
      }
      if (length == 0) continue;
      fill_in(work, first * block, length);
      batch.push_back(&work.bio);
    }
    driver_.submit(batch);
    driver_.finish();
    for (Work& work : works) {
      if (std::find(batch.begin(), batch.end(), &work.bio) == batch.end()) continue;
      ASSERT_EQ(work.bio.ends, 1U);
      ASSERT_EQ(work.bio.result, IoResult::success(work.bio.length));
      if (work.bio.op == BioOp::read && geometry_.stores_data) check_read(work);
    }
  }

  void fill_in(Work& work, std::uint64_t offset, std::uint64_t blocks) {
    const std::uint64_t block = geometry_.logical_block_bytes;
    const bool can_fua = geometry_.fua || !geometry_.volatile_cache;
    TestBio& bio = work.bio;
    bio.op = pick(2) == 0 ? BioOp::read : BioOp::write;
    bio.fua = bio.op == BioOp::write && can_fua && pick(4) == 0;
    bio.addr = begin_ + offset;
    std::uint64_t at = offset;
    while (blocks > 0) {
      const bool last = bio.segment_count + 1U == bio_segments_max;
      const std::uint64_t share = last ? blocks : 1 + pick(blocks);
      std::byte* const data = next_memory(share * block);
      if (bio.op == BioOp::write) {
        for (std::size_t i = 0; i < share * block; i += 8) {
          const std::uint64_t word = random_();
          std::memcpy(data + i, &word, sizeof word);
        }
        std::memcpy(shadow_.data() + at, data, share * block);
      }
      bio.add_segment(data, share * block);
      at += share * block;
      blocks -= share;
    }
    if (bio.op == BioOp::read) {
      work.expected.assign(shadow_.begin() + static_cast<std::ptrdiff_t>(offset),
                           shadow_.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }

  // As badly aligned as the device allows.
  std::byte* next_memory(std::size_t bytes) {
    memory_used_ += geometry_.memory_alignment_bytes;
    std::byte* const data = memory_.data() + memory_used_;
    memory_used_ += bytes;
    EXPECT_LE(memory_used_, memory_.size());
    return data;
  }

  static void check_read(const Work& work) {
    std::size_t at = 0;
    for (unsigned i = 0; i < work.bio.segment_count; ++i) {
      const iovec& segment = work.bio.segments[i];
      ASSERT_EQ(std::memcmp(segment.iov_base, work.expected.data() + at, segment.iov_len), 0)
          << "read at " << work.bio.addr << ", segment " << i;
      at += segment.iov_len;
    }
  }

  void check_all() {
    if (!geometry_.stores_data) return;
    const std::size_t step = geometry_.transfer_bytes_max;
    TestMemory memory(step);
    for (std::size_t at = 0; at < shadow_.size(); at += step) {
      const std::size_t length = std::min(step, shadow_.size() - at);
      ASSERT_EQ(driver_.run(BioOp::read, begin_ + at, memory.data(), length),
                IoResult::success(static_cast<std::uint32_t>(length)));
      ASSERT_EQ(std::memcmp(memory.data(), shadow_.data() + at, length), 0) << "at " << at;
    }
  }

  const Geometry& geometry_;
  TestMemory memory_{12U << 20};
  std::size_t memory_used_ = 0;
  QueueDriver driver_;
  std::uint64_t begin_;
  std::vector<std::byte> shadow_;
  std::mt19937_64 random_;
};

}  // namespace handback::testing
