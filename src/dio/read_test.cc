// Reads: holes, unwritten extents, the end of the file.
#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

const RouteDecision read_inline{Route::inline_, RouteReason::read_ok};
const RouteDecision ended_in_submit{Route::submit, RouteReason::submit_ended};

constexpr std::uint64_t device_bytes = 1U << 20;

// A device full of bytes that no read may show unless they are mapped, and a buffer full of others.
class DioRead : public ::testing::Test {
 protected:
  DioRead() { fill_random(rig_.device.bytes, 1); }

  [[nodiscard]] std::vector<std::byte> on_device(std::uint64_t addr, std::size_t length) const {
    const auto first = rig_.device.bytes.begin() + static_cast<std::ptrdiff_t>(addr);
    return {first, first + static_cast<std::ptrdiff_t>(length)};
  }
  // The buffer as it must be: `pieces` one after the other, then what was there before.
  [[nodiscard]] std::vector<std::byte> expected(
      std::initializer_list<std::vector<std::byte>> pieces) const {
    std::vector<std::byte> all;
    for (const auto& piece : pieces)
      all.insert(all.end(), piece.begin(), piece.end());
    all.insert(all.end(), before_.begin() + static_cast<std::ptrdiff_t>(all.size()), before_.end());
    return all;
  }
  [[nodiscard]] std::vector<std::byte> got() const { return copy_of(buffer_.span()); }

  FakeRig rig_;
  AlignedBuffer buffer_ = random_buffer(16384, 2);
  std::vector<std::byte> before_ = copy_of(buffer_.span());
};

TEST_F(DioRead, OfMappedBlocksGivesTheDevicesBytes) {
  rig_.file.map(0, 16384, 8192);
  rig_.file.size = 16384;
  EXPECT_EQ(rig_.read(512, buffer_.span().first(8192)), IoResult::success(8192));
  EXPECT_EQ(rig_.routed, read_inline);
  EXPECT_TRUE(same_bytes(got(), expected({on_device(8704, 8192)})));
  EXPECT_EQ(rig_.device.seen, (std::vector<SeenBio>{{BioOp::read, 8704, {8192}}}));
}

TEST_F(DioRead, OfAHoleGivesZerosWithoutIo) {
  rig_.file.size = 65536;
  EXPECT_EQ(rig_.read(4096, buffer_.span().first(8192)), IoResult::success(8192));
  EXPECT_EQ(rig_.routed, ended_in_submit);
  EXPECT_TRUE(same_bytes(got(), expected({zeros(8192)})));
  EXPECT_TRUE(rig_.device.seen.empty());
}

TEST_F(DioRead, OfUnwrittenBlocksGivesZerosAndNeverWhatIsOnTheDevice) {
  rig_.file.map(0, 16384, 0, IomapType::unwritten);
  rig_.file.size = 16384;
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::success(16384));
  EXPECT_EQ(rig_.routed, ended_in_submit);
  EXPECT_TRUE(same_bytes(got(), expected({zeros(16384)})));
  EXPECT_TRUE(rig_.device.seen.empty());
}

TEST_F(DioRead, JoinsMappingsOfEveryKind) {
  rig_.file.map(0, 4096, 40960);
  rig_.file.map(4096, 4096, 0, IomapType::unwritten);
  rig_.file.map(12288, 4096, 8192);
  rig_.file.size = 16384;
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::success(16384));
  EXPECT_EQ(rig_.routed, read_inline);
  EXPECT_TRUE(
      same_bytes(got(), expected({on_device(40960, 4096), zeros(8192), on_device(8192, 4096)})));
  EXPECT_EQ(rig_.device.seen,
            (std::vector<SeenBio>{{BioOp::read, 40960, {4096}}, {BioOp::read, 8192, {4096}}}));
  EXPECT_EQ(rig_.file.begun, (std::vector<IomapRequest>{{0, 16384, false, false},
                                                        {4096, 12288, false, false},
                                                        {8192, 8192, false, false},
                                                        {12288, 4096, false, false}}));
}

TEST_F(DioRead, OfHolesAndBlocksFillsEverySegmentWithItsOwnBytes) {
  rig_.file.map(4096, 4096, 0);
  rig_.file.size = 12288;
  // The mapping begins and ends in the middle of segments; one segment is empty.
  const std::vector<iovec> segments = {{buffer_.data(), 3584},
                                       {buffer_.data() + 3584, 2048},
                                       {buffer_.data() + 5632, 0},
                                       {buffer_.data() + 5632, 6656}};
  Aiocb aiocb;
  aiocb.prepare_readv(rig_.file, 0, IovView{segments.data(), 4});
  EXPECT_EQ(rig_.run(aiocb), IoResult::success(12288));
  EXPECT_TRUE(same_bytes(got(), expected({zeros(4096), on_device(0, 4096), zeros(4096)})));
  EXPECT_EQ(rig_.device.seen, (std::vector<SeenBio>{{BioOp::read, 0, {1536, 2560}}}));
}

// --- the end of the file ---

TEST_F(DioRead, OfAnEmptyFileGivesNothing) {
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::success(0));
  EXPECT_EQ(rig_.routed, ended_in_submit);
  EXPECT_TRUE(same_bytes(got(), before_));
  EXPECT_TRUE(rig_.file.begun.empty());
}

TEST_F(DioRead, BeyondTheEndGivesNothing) {
  rig_.file.map(0, 16384, 0);
  rig_.file.size = 4096;
  EXPECT_EQ(rig_.read(4096, buffer_.span()), IoResult::success(0));
  EXPECT_EQ(rig_.read(8192, buffer_.span()), IoResult::success(0));
  EXPECT_EQ(rig_.read((std::uint64_t{1} << 63) - 16384, buffer_.span()), IoResult::success(0));
  EXPECT_TRUE(same_bytes(got(), before_));
  EXPECT_TRUE(rig_.device.seen.empty());
}

TEST_F(DioRead, StraddlingTheEndIsCutThere) {
  rig_.file.map(0, 16384, 0);
  rig_.file.size = 5120;
  EXPECT_EQ(rig_.read(4096, buffer_.span()), IoResult::success(1024));
  EXPECT_TRUE(same_bytes(got(), expected({on_device(4096, 1024)})));
  EXPECT_EQ(rig_.device.seen, (std::vector<SeenBio>{{BioOp::read, 4096, {1024}}}));
}

// The device transfers whole logical blocks; what lies there beyond the end is nobody's business.
TEST_F(DioRead, StraddlingAnEndInsideABlockZeroesTheRestOfThatBlockAndNoMore) {
  rig_.file.map(0, 16384, 0);
  for (const std::uint64_t size : {1U, 511U, 513U, 1000U, 4095U, 4097U}) {
    SCOPED_TRACE(size);
    fill_random(buffer_.span(), 3);
    before_ = copy_of(buffer_.span());
    rig_.file.size = size;
    const std::uint64_t transferred = round_up(size, 512);
    EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::success(static_cast<std::uint32_t>(size)));
    EXPECT_TRUE(same_bytes(got(), expected({on_device(0, size), zeros(transferred - size)})));
    EXPECT_EQ(rig_.device.take_seen(),
              (std::vector<SeenBio>{{BioOp::read, 0, {static_cast<std::uint32_t>(transferred)}}}));
  }
}

TEST_F(DioRead, ZeroesBeyondTheEndInWhicheverSegmentItFalls) {
  rig_.file.map(0, 16384, 0);
  rig_.file.size = 1300;
  const std::vector<iovec> segments = {
      {buffer_.data(), 1024}, {buffer_.data() + 1024, 512}, {buffer_.data() + 1536, 512}};
  Aiocb aiocb;
  aiocb.prepare_readv(rig_.file, 0, IovView{segments.data(), 3});
  EXPECT_EQ(rig_.run(aiocb), IoResult::success(1300));
  EXPECT_TRUE(same_bytes(got(), expected({on_device(0, 1300), zeros(236)})));
}

TEST_F(DioRead, OfAHoleStraddlingTheEndZeroesTheRestOfTheLastBlock) {
  rig_.file.size = 700;
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::success(700));
  EXPECT_TRUE(same_bytes(got(), expected({zeros(1024)})));
}

// --- who asked ---

TEST_F(DioRead, TellsTheMapperOfNowait) {
  rig_.file.map(0, 4096, 0);
  rig_.file.size = 4096;
  EXPECT_EQ(rig_.read(0, buffer_.span().first(4096), KiocbFlags::nowait), IoResult::success(4096));
  EXPECT_EQ(rig_.file.begun, (std::vector<IomapRequest>{{0, 4096, false, true}}));
}

TEST_F(DioRead, GivesItsPriorityToEveryBio) {
  rig_.file.map(0, 4096, 8192);
  rig_.file.map(4096, 4096, 0);
  rig_.file.size = 8192;
  Aiocb aiocb;
  aiocb.prepare_read(rig_.file, 0, buffer_.span().first(8192));
  aiocb.ki_ioprio = 0x4003;
  EXPECT_EQ(rig_.run(aiocb), IoResult::success(8192));
  EXPECT_EQ(rig_.device.seen, (std::vector<SeenBio>{{BioOp::read, 8192, {4096}, false, 0x4003},
                                                    {BioOp::read, 0, {4096}, false, 0x4003}}));
}

TEST_F(DioRead, NeverSyncsAndTellsEndIoWhatItRead) {
  rig_.file.map(0, 16384, 0);
  rig_.file.size = 1000;
  EXPECT_EQ(rig_.read(512, buffer_.span(), KiocbFlags::dsync), IoResult::success(488));
  ASSERT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_EQ(rig_.file.ended[0].end,
            (DioEnd{.offset = 512, .bytes = 16384, .result = IoResult::success(488)}));
  EXPECT_EQ(rig_.file.ended[0].context, Context::device);
  EXPECT_TRUE(rig_.file.synced.empty());
}

TEST_F(DioRead, OfASynchronousCallerIsSettledByTheWaiter) {
  rig_.file.map(0, 4096, 4096);
  rig_.file.size = 1300;
  EXPECT_EQ(rig_.read_sync_caller(0, buffer_.span().first(4096)), IoResult::success(1300));
  EXPECT_EQ(rig_.routed, (RouteDecision{Route::waiter, RouteReason::sync_caller}));
  EXPECT_TRUE(same_bytes(got(), expected({on_device(4096, 1300), zeros(236)})));
  ASSERT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_EQ(rig_.file.ended[0].context, Context::task);
  // Without I/O there is nothing to wait for.
  EXPECT_EQ(rig_.read_sync_caller(4096, buffer_.span()), IoResult::success(0));
  EXPECT_EQ(rig_.routed, ended_in_submit);
}

}  // namespace
}  // namespace handback::testing
