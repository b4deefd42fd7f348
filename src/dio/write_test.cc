// Writes: where the bytes go, what is zeroed around them, how they are split.
#include <tuple>

#include "block/limit_device.h"
#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

Geometry geometry_with(std::uint32_t logical_block, std::uint32_t transfer_max = 1U << 20) {
  Geometry geometry = FakeDevice::default_geometry();
  geometry.logical_block_bytes = logical_block;
  geometry.transfer_bytes_max = transfer_max;
  return geometry;
}

// What the device must hold: `before` with `data` at `addr`.
std::vector<std::byte> with(std::vector<std::byte> before, std::uint64_t addr,
                            std::span<const std::byte> data) {
  std::memcpy(before.data() + addr, data.data(), data.size());
  return before;
}

// --- overwrites ---

TEST(DioWrite, OverMappedBlocksChangesTheseBytesAndNoOthers) {
  FakeRig rig;
  fill_random(rig.device.bytes, 1);
  const std::vector<std::byte> before = rig.device.bytes;
  rig.file.map(0, 65536, 131072);
  rig.file.size = 65536;
  const AlignedBuffer data = random_buffer(8192, 2);
  EXPECT_EQ(rig.write(512, data.span().first(7680)), IoResult::success(7680));
  EXPECT_EQ(rig.routed, (RouteDecision{Route::inline_, RouteReason::pure_overwrite}));
  EXPECT_TRUE(same_bytes(rig.device.bytes, with(before, 131072 + 512, data.span().first(7680))));
  EXPECT_EQ(rig.device.seen, (std::vector<SeenBio>{{BioOp::write, 131584, {7680}}}));
  ASSERT_EQ(rig.file.ended.size(), 1U);
  EXPECT_EQ(rig.file.ended[0].end,
            (DioEnd{.offset = 512, .bytes = 7680, .result = IoResult::success(7680)}));
  EXPECT_EQ(rig.file.ended[0].context, Context::device);
}

TEST(DioWrite, GathersSegmentsInOrder) {
  FakeRig rig;
  rig.file.map(0, 65536, 0);
  rig.file.size = 65536;
  const AlignedBuffer data = random_buffer(8192, 3);
  const std::vector<iovec> segments = {{data.data() + 4096, 2048},
                                       {data.data(), 0},
                                       {data.data() + 512, 512},
                                       {data.data() + 6144, 2048}};
  Aiocb aiocb;
  aiocb.prepare_writev(rig.file, 4096, IovView{segments.data(), 4});
  EXPECT_EQ(rig.run(aiocb), IoResult::success(4608));
  std::vector<std::byte> expected(rig.device.bytes.size());
  expected = with(expected, 4096, data.span().subspan(4096, 2048));
  expected = with(expected, 6144, data.span().subspan(512, 512));
  expected = with(expected, 6656, data.span().subspan(6144, 2048));
  EXPECT_TRUE(same_bytes(rig.device.bytes, expected));
  EXPECT_EQ(rig.device.seen, (std::vector<SeenBio>{{BioOp::write, 4096, {2048, 512, 2048}}}));
}

TEST(DioWrite, AsksTheMapperForWhatIsLeftUntilAllIsMapped) {
  FakeRig rig;
  rig.file.map(0, 4096, 8192);
  rig.file.map(4096, 8192, 65536);
  rig.file.size = 12288;
  const AlignedBuffer data = random_buffer(8192, 4);
  EXPECT_EQ(rig.write(2048, data.span(), KiocbFlags::nowait), IoResult::success(8192));
  EXPECT_EQ(rig.file.begun,
            (std::vector<IomapRequest>{{2048, 8192, true, true}, {4096, 6144, true, true}}));
  std::vector<std::byte> expected(rig.device.bytes.size());
  expected = with(expected, 8192 + 2048, data.span().first(2048));
  expected = with(expected, 65536, data.span().subspan(2048));
  EXPECT_TRUE(same_bytes(rig.device.bytes, expected));
}

using DioWriteDeathTest = ::testing::Test;

TEST_F(DioWriteDeathTest, DoesNotTakeAHoleForAnAnswer) {
  FakeRig rig;
  const AlignedBuffer data(4096);
  EXPECT_DEATH(static_cast<void>(rig.write(0, data.span())),
               "iomap_begin answers a write with blocks, not with a hole");
}

// --- zeroing around ---

// Logical block, fs block, largest transfer, what the blocks are.
struct ZeroingCase {
  std::uint32_t logical_block;
  std::uint32_t fs_block;
  std::uint32_t transfer_max;
  bool new_extent;
};

class DioZeroing : public ::testing::TestWithParam<ZeroingCase> {};

TEST_P(DioZeroing, FillsBlocksThatHeldNothingValidAroundAWriteOfAnyStartAndLength) {
  const auto [logical_block, fs_block, transfer_max, new_extent] = GetParam();
  Geometry geometry = geometry_with(logical_block, transfer_max);
  geometry.size_bytes = 6ULL * fs_block;
  FakeRig rig(geometry, fs_block);
  const std::uint64_t addr = 2ULL * fs_block;
  const AlignedBuffer data = random_buffer(3ULL * fs_block, 5);
  const std::vector<std::byte> garbage = random_bytes(rig.device.bytes.size(), 6);
  // Every start in the first block, and enough ends in the first, second and third.
  const std::uint32_t blocks = fs_block / logical_block;
  const std::uint32_t step = std::max(1U, blocks / 8) * logical_block;
  for (std::uint32_t start = 0; start < fs_block; start += step) {
    for (std::uint32_t end = start + step; end <= 3 * fs_block; end += 3 * step) {
      SCOPED_TRACE(::testing::Message() << start << " to " << end);
      rig.device.bytes = garbage;
      rig.file.size = 0;
      rig.file.map(0, 3ULL * fs_block, addr,
                   FakeBlock{.type = new_extent ? IomapType::mapped : IomapType::unwritten,
                             .new_extent = new_extent});
      const auto from = data.span().first(end - start);
      ASSERT_EQ(rig.write(start, from), IoResult::success(end - start));
      const std::uint64_t first = round_down(start, fs_block);
      const std::uint64_t last = round_up(end, fs_block);
      std::vector<std::byte> expected = with(garbage, addr + first, zeros(last - first));
      expected = with(expected, addr + start, from);
      ASSERT_TRUE(same_bytes(rig.device.bytes, expected));
      ASSERT_EQ(rig.file.ended.back().end, (DioEnd{.offset = start,
                                                   .bytes = end - start,
                                                   .result = IoResult::success(end - start),
                                                   .unwritten = true}));
    }
  }
  for (const SeenBio& bio : rig.device.seen) {
    std::uint64_t length = 0;
    for (const std::uint32_t bytes : bio.segments)
      length += bytes;
    ASSERT_LE(length, transfer_max);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Dio, DioZeroing,
    ::testing::Values(ZeroingCase{512, 4096, 1U << 20, false},
                      ZeroingCase{512, 4096, 1U << 20, true}, ZeroingCase{512, 4096, 1024, false},
                      ZeroingCase{512, 4096, 512, true}, ZeroingCase{512, 512, 4096, false},
                      ZeroingCase{4096, 4096, 8192, false},
                      ZeroingCase{4096, 65536, 1U << 20, false},
                      ZeroingCase{4096, 65536, 16384, true}),
    [](const ::testing::TestParamInfo<ZeroingCase>& of) {
      const ZeroingCase& c = of.param;
      return "Logical" + std::to_string(c.logical_block) + "Fs" + std::to_string(c.fs_block) +
             "Transfer" + std::to_string(c.transfer_max) + (c.new_extent ? "New" : "Unwritten");
    });

TEST(DioZeroingShape, IsOneBioWithHeadDataAndTail) {
  FakeRig rig;
  rig.file.map(0, 8192, 16384, IomapType::unwritten);
  const AlignedBuffer data = random_buffer(8192, 7);
  EXPECT_EQ(rig.write(512, data.span().first(512)), IoResult::success(512));
  EXPECT_EQ(rig.device.take_seen(),
            (std::vector<SeenBio>{{BioOp::write, 16384, {512, 512, 3072}}}));
  rig.file.map(0, 8192, 16384, IomapType::unwritten);
  EXPECT_EQ(rig.write(0, data.span().first(512)), IoResult::success(512));
  EXPECT_EQ(rig.device.take_seen(), (std::vector<SeenBio>{{BioOp::write, 16384, {512, 3584}}}));
  rig.file.map(0, 8192, 16384, IomapType::unwritten);
  EXPECT_EQ(rig.write(7680, data.span().first(512)), IoResult::success(512));
  EXPECT_EQ(rig.device.take_seen(), (std::vector<SeenBio>{{BioOp::write, 20480, {3584, 512}}}));
  rig.file.map(0, 8192, 16384, IomapType::unwritten);
  EXPECT_EQ(rig.write(0, data.span()), IoResult::success(8192));
  EXPECT_EQ(rig.device.take_seen(), (std::vector<SeenBio>{{BioOp::write, 16384, {8192}}}));
}

// Two segments of data still leave room for both paddings in one bio.
TEST(DioZeroingShape, KeepsHeadTwoSegmentsAndTailInOneBio) {
  FakeRig rig;
  rig.file.map(0, 4096, 0, IomapType::unwritten);
  const AlignedBuffer data = random_buffer(4096, 8);
  const std::vector<iovec> segments = {{data.data(), 512}, {data.data() + 2048, 512}};
  Aiocb aiocb;
  aiocb.prepare_writev(rig.file, 1024, IovView{segments.data(), 2});
  EXPECT_EQ(rig.run(aiocb), IoResult::success(1024));
  EXPECT_EQ(rig.device.seen, (std::vector<SeenBio>{{BioOp::write, 0, {1024, 512, 512, 2048}}}));
}

TEST(DioZeroingShape, LeavesTheRestOfWrittenAndSharedBlocksAlone) {
  for (const bool shared : {false, true}) {
    FakeRig rig;
    fill_random(rig.device.bytes, 9);
    const std::vector<std::byte> before = rig.device.bytes;
    rig.file.map(0, 8192, 4096, FakeBlock{.type = IomapType::mapped, .shared = shared});
    rig.file.size = 8192;
    const AlignedBuffer data = random_buffer(4096, 10);
    EXPECT_EQ(rig.write(512, data.span().first(1024)), IoResult::success(1024));
    EXPECT_TRUE(same_bytes(rig.device.bytes, with(before, 4096 + 512, data.span().first(1024))));
  }
}

// Head in an unwritten block, tail in a written one: each by its own rule.
TEST(DioZeroingShape, ZeroesOnlyOnTheSideThatIsUnwritten) {
  FakeRig rig;
  fill_random(rig.device.bytes, 11);
  const std::vector<std::byte> before = rig.device.bytes;
  rig.file.map(0, 4096, 0, IomapType::unwritten);
  rig.file.map(4096, 4096, 65536);
  rig.file.size = 8192;
  const AlignedBuffer data = random_buffer(8192, 12);
  EXPECT_EQ(rig.write(3584, data.span().first(1024)), IoResult::success(1024));
  std::vector<std::byte> expected = with(before, 0, zeros(3584));
  expected = with(expected, 3584, data.span().first(512));
  expected = with(expected, 65536, data.span().subspan(512, 512));
  EXPECT_TRUE(same_bytes(rig.device.bytes, expected));
}

// --- splitting ---

TEST(DioSplit, EndsABioWithItsMapping) {
  FakeRig rig;
  rig.file.map(0, 4096, 8192);
  rig.file.map(4096, 4096, 0);
  rig.file.map(8192, 4096, 4096);
  rig.file.size = 12288;
  const AlignedBuffer data = random_buffer(12288, 13);
  EXPECT_EQ(rig.write(1024, data.span().first(10240)), IoResult::success(10240));
  // The second and the third lie one after the other on the device, and so are one mapping.
  EXPECT_EQ(rig.device.seen,
            (std::vector<SeenBio>{{BioOp::write, 9216, {3072}}, {BioOp::write, 0, {7168}}}));
}

TEST(DioSplit, EndsABioWithTheDevicesLargestTransfer) {
  FakeRig rig(geometry_with(512, 2048));
  rig.file.map(0, 65536, 65536);
  rig.file.size = 65536;
  const AlignedBuffer data = random_buffer(65536, 14);
  EXPECT_EQ(rig.write(512, data.span().first(5120)), IoResult::success(5120));
  EXPECT_EQ(rig.device.take_seen(), (std::vector<SeenBio>{{BioOp::write, 66048, {2048}},
                                                          {BioOp::write, 68096, {2048}},
                                                          {BioOp::write, 70144, {1024}}}));
  // Exactly the largest is one.
  EXPECT_EQ(rig.write(0, data.span().first(2048)), IoResult::success(2048));
  EXPECT_EQ(rig.device.take_seen(), (std::vector<SeenBio>{{BioOp::write, 65536, {2048}}}));
  // Segments and transfers that do not end together.
  const std::vector<iovec> segments = {
      {data.data(), 1536}, {data.data() + 1536, 1024}, {data.data() + 2560, 1536}};
  Aiocb aiocb;
  aiocb.prepare_writev(rig.file, 0, IovView{segments.data(), 3});
  EXPECT_EQ(rig.run(aiocb), IoResult::success(4096));
  EXPECT_EQ(rig.device.take_seen(), (std::vector<SeenBio>{{BioOp::write, 65536, {1536, 512}},
                                                          {BioOp::write, 67584, {512, 1536}}}));
}

TEST(DioSplit, EndsABioWithItsFourthSegment) {
  FakeRig rig;
  rig.file.map(0, 65536, 0);
  rig.file.size = 65536;
  AlignedBuffer data = random_buffer(8192, 15);
  std::vector<iovec> segments;
  for (std::size_t i = 0; i < 9; ++i)
    segments.push_back({data.data() + i * 512, 512});
  Aiocb aiocb;
  aiocb.prepare_writev(rig.file, 0, IovView{segments.data(), 9});
  EXPECT_EQ(rig.run(aiocb), IoResult::success(4608));
  EXPECT_EQ(rig.device.take_seen(),
            (std::vector<SeenBio>{{BioOp::write, 0, {512, 512, 512, 512}},
                                  {BioOp::write, 2048, {512, 512, 512, 512}},
                                  {BioOp::write, 4096, {512}}}));
  EXPECT_EQ(std::memcmp(rig.device.bytes.data(), data.data(), 4608), 0);
  aiocb.prepare_readv(rig.file, 0, IovView{segments.data(), 4});
  EXPECT_EQ(rig.run(aiocb), IoResult::success(2048));
  EXPECT_EQ(rig.device.take_seen(), (std::vector<SeenBio>{{BioOp::read, 0, {512, 512, 512, 512}}}));
}

// The device refuses what breaks its limits, so a request that succeeds kept them.
TEST(DioSplit, KeepsToTheLimitsOfANarrowerDevice) {
  FakeDevice wide(geometry_with(512));
  Geometry narrow = wide.geometry();
  narrow.transfer_bytes_max = 1024;
  LimitDevice limited(wide, narrow);
  DioRig rig(limited);
  rig.file.map(0, 65536, 0, IomapType::unwritten);
  const AlignedBuffer data = random_buffer(16384, 16);
  EXPECT_EQ(rig.write(512, data.span()), IoResult::success(16384));
  AlignedBuffer back(16384);
  EXPECT_EQ(rig.read(512, back.span()), IoResult::success(16384));
  EXPECT_TRUE(same_bytes(copy_of(back.span()), copy_of(data.span())));
  // 512 of head, 16384 of data and 3584 of tail; the read without padding.
  EXPECT_EQ(wide.seen.size(), 20U + 16U);
}

TEST(DioSplit, TakesMoreBiosThanThePoolBeginsWith) {
  FakeDevice device(geometry_with(512, 512));
  DioRig rig(device);
  rig.issuer = make_issuer({.dios_initial = 1, .bios_initial = 1});
  rig.file.map(0, 262144, 0);
  rig.file.size = 262144;
  const AlignedBuffer data = random_buffer(262144, 17);
  EXPECT_EQ(rig.write(0, data.span()), IoResult::success(262144));
  EXPECT_EQ(device.take_seen().size(), 512U);
  EXPECT_EQ(std::memcmp(device.bytes.data(), data.data(), 262144), 0);
  // 511 beside the first, which lies in the dio: 1, 2, 4, ... 512.
  EXPECT_EQ(rig.issuer->stats().pool_growths, 9U);
  EXPECT_EQ(rig.write(0, data.span()), IoResult::success(262144));
  EXPECT_EQ(rig.issuer->stats().pool_growths, 9U);
}

}  // namespace
}  // namespace handback::testing
