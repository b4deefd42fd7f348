// That a limited device keeps the promises of any other is shown by the conformance suite in room
// memory.
#include "block/limit_device.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "block/fake_device.h"

namespace handback {
namespace {

Geometry wide() {
  Geometry geometry;
  geometry.size_bytes = 1U << 20;
  geometry.memory_alignment_bytes = 4;
  return geometry;
}

struct CountedBio : Bio {
  CountedBio(BioOp operation, std::uint64_t at, std::size_t bytes) {
    op = operation;
    addr = at;
    add_segment(reinterpret_cast<void*>(4096), bytes);
    end_io = [](Bio& bio) noexcept { ++static_cast<CountedBio&>(bio).ends; };
  }
  unsigned ends = 0;
};

TEST(LimitDevice, EnforcesWhatItAnnouncesAndForwardsTheRest) {
  testing::FakeDevice below(wide());
  Geometry narrow = wide();
  narrow.size_bytes = 512U << 10;
  narrow.transfer_bytes_max = 8192;
  LimitDevice device(below, narrow);
  EXPECT_EQ(device.geometry().transfer_bytes_max, 8192U);
  EXPECT_EQ(device.name(), "fake, limited");
  auto queue = device.open_queue(-1);
  ASSERT_TRUE(queue);
  CountedBio good(BioOp::write, 0, 8192);
  CountedBio long_one(BioOp::write, 0, 16384);
  CountedBio beyond(BioOp::read, 512U << 10, 512);
  good.next = &long_one;
  long_one.next = &beyond;
  (*queue)->submit(&good);
  EXPECT_EQ(good.ends + long_one.ends + beyond.ends, 0U);
  // Two bios are ready: nobody may sleep.
  (*queue)->wait(-1);
  EXPECT_EQ(below.waits_ns, std::vector<std::int64_t>{0});
  EXPECT_EQ((*queue)->poll(), 3U);
  EXPECT_EQ(good.result, IoResult::success(8192));
  EXPECT_EQ(long_one.result, IoResult::failure(Errc::invalid, IoDetail::length_beyond_limit));
  EXPECT_EQ(beyond.result, IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit));
  EXPECT_EQ(below.submitted, std::vector<const Bio*>{&good});
  (*queue)->wait(7);
  EXPECT_EQ(below.waits_ns, (std::vector<std::int64_t>{0, 7}));
}

TEST(LimitDevice, ForwardsTheRegistrationOfMemory) {
  testing::FakeDevice below(wide());
  LimitDevice device(below, wide());
  auto queue = device.open_queue(-1);
  ASSERT_TRUE(queue);
  auto* const registers = dynamic_cast<RegistersBuffers*>(queue->get());
  ASSERT_NE(registers, nullptr);
  std::byte memory[8];
  EXPECT_TRUE(registers->register_buffer(memory));
  EXPECT_EQ(below.registered, std::vector<std::byte*>{memory});
  registers->unregister_buffer(memory);
  EXPECT_TRUE(below.registered.empty());
}

TEST(LimitDeviceDeathTest, AnnouncingMoreThanThereIsIsCaught) {
  const std::vector<std::function<void(Geometry&)>> widenings = {
      [](Geometry& geometry) { geometry.size_bytes *= 2; },
      [](Geometry& geometry) { geometry.memory_alignment_bytes = 1; },
      [](Geometry& geometry) { geometry.transfer_bytes_max *= 2; },
      [](Geometry& geometry) { geometry.stores_data = false; },
  };
  for (const auto& widen : widenings) {
    testing::FakeDevice below(wide());
    Geometry geometry = wide();
    widen(geometry);
    EXPECT_DEATH(LimitDevice(below, geometry),
                 "announces nothing that the device below does not have");
  }
  Geometry cached = wide();
  cached.volatile_cache = true;
  testing::FakeDevice below(cached);
  EXPECT_DEATH(LimitDevice(below, wide()), "announces nothing that the device below does not have");
  cached.fua = true;
  EXPECT_DEATH(LimitDevice(below, cached), "announces nothing that the device below does not have");
}

}  // namespace
}  // namespace handback
