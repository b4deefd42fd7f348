// Requests that fail: which error, how many bytes, how often end_io.
#include "block/fault_device.h"
#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

const RouteDecision failed_at_issuer{Route::issuer, RouteReason::error};

// 4 bios of 4096 bytes each for a request of 16 KiB, with faults at the device.
class DioFailure : public ::testing::Test {
 protected:
  DioFailure() {
    rig_.file.map(0, 16384, 0);
    rig_.file.size = 16384;
  }
  static Geometry geometry() {
    Geometry geometry = FakeDevice::default_geometry();
    geometry.transfer_bytes_max = 4096;
    return geometry;
  }
  // The one call of end_io that there must be.
  void expect_ended_with(IoResult result) {
    ASSERT_EQ(rig_.file.ended.size(), 1U);
    EXPECT_EQ(rig_.file.ended[0].end.result, result);
    EXPECT_EQ(rig_.file.ended[0].context, Context::issuer);
    EXPECT_EQ(rig_.file.inflight.count(), 0U);
    rig_.file.ended.clear();
  }

  FakeDevice device_{geometry()};
  FaultDevice faulty_{device_};
  DioRig rig_{faulty_};
  AlignedBuffer buffer_ = random_buffer(16384, 1);
};

TEST_F(DioFailure, OfAReadCountsTheBytesBeforeTheFirstFailedBio) {
  for (std::uint32_t failed = 1; failed <= 4; ++failed) {
    faulty_.fail(BioOp::read, failed, IoResult::host_failure(EIO, 512));
    const IoResult expected = IoResult::host_failure(EIO, (failed - 1) * 4096);
    EXPECT_EQ(rig_.read(0, buffer_.span()), expected);
    EXPECT_EQ(rig_.routed, failed_at_issuer);
    expect_ended_with(expected);
    faulty_.heal();
  }
}

TEST_F(DioFailure, OfAnOverwriteCountsTheBytesBeforeTheFirstFailedBio) {
  for (std::uint32_t failed = 1; failed <= 4; ++failed) {
    faulty_.fail(BioOp::write, failed, IoResult::host_failure(ENXIO));
    const IoResult expected = IoResult::host_failure(ENXIO, (failed - 1) * 4096);
    EXPECT_EQ(rig_.write(0, buffer_.span()), expected);
    EXPECT_EQ(rig_.routed, failed_at_issuer);
    expect_ended_with(expected);
    faulty_.heal();
  }
}

TEST_F(DioFailure, KeepsTheErrorOfTheDeviceAsItIs) {
  for (const IoResult fault :
       {IoResult::host_failure(EIO), IoResult::host_failure(ENODATA),
        IoResult::failure(Errc::no_space), IoResult::failure(Errc::io, IoDetail::none),
        IoResult::failure(Errc::read_only),
        IoResult::failure(Errc::too_large, IoDetail::offset_beyond_limit)}) {
    faulty_.fail(BioOp::write, 1, fault);
    EXPECT_EQ(rig_.write(0, buffer_.span()), fault);
    expect_ended_with(fault);
  }
}

TEST_F(DioFailure, WithSeveralFailedBiosKeepsTheFirstErrorAndTheShortestPrefix) {
  faulty_.fail(BioOp::read, 2, IoResult::host_failure(EIO));
  faulty_.fail(BioOp::read, 4, IoResult::host_failure(ENXIO));
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::host_failure(EIO, 4096));
}

// The bios end in another order than they lie in: the first error is that of the first end.
TEST_F(DioFailure, InAnyOrderOfEndsTheFirstToFailGivesTheErrorAndTheLowestTheBytes) {
  const std::array<int, 4> errnos = {EIO, ENXIO, ENODATA, EREMOTEIO};
  std::array<std::size_t, 4> order = {0, 1, 2, 3};
  device_.hold(true);
  do {
    SCOPED_TRACE(::testing::Message() << order[0] << order[1] << order[2] << order[3]);
    TestAiocb aiocb;
    aiocb.prepare_read_of(rig_.file, 0, buffer_.span());
    rig_.issuer->submit(aiocb);
    ASSERT_EQ(device_.held_count(), 4U);
    // Of those ending in this order, the second and the third fail.
    std::vector<std::size_t> held = {0, 1, 2, 3};
    for (std::size_t i = 0; i < 4; ++i) {
      const auto at = std::find(held.begin(), held.end(), order[i]);
      const bool fails = i == 1 || i == 2;
      device_.end_in_poll(static_cast<std::size_t>(at - held.begin()),
                          fails ? IoResult::host_failure(errnos[order[i]]) : IoResult::success(0));
      held.erase(at);
    }
    EXPECT_EQ(rig_.issuer->wait(), 1U);
    const auto lowest = static_cast<std::uint32_t>(std::min(order[1], order[2]));
    EXPECT_EQ(aiocb.result, IoResult::host_failure(errnos[order[1]], lowest * 4096));
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(DioFailure, OfAReadIsNeverReportedBeyondTheEndOfTheFile) {
  rig_.file.size = 9000;
  faulty_.fail(BioOp::read, 3, IoResult::host_failure(EIO));
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::host_failure(EIO, 8192));
}

TEST_F(DioFailure, CountsTheZerosOfAHoleBeforeTheFailedBio) {
  rig_.file.blocks[0] = FakeBlock{};
  faulty_.fail(BioOp::read, 2, IoResult::host_failure(EIO));
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::host_failure(EIO, 8192));
}

// What it allocated stays unwritten, so that not even the part that went well can be read back.
TEST_F(DioFailure, OfAWriteThatAllocatesOrConvertsReportsNoBytes) {
  for (const FakeBlock& block : {FakeBlock{.type = IomapType::unwritten},
                                 FakeBlock{.type = IomapType::mapped, .new_extent = true},
                                 FakeBlock{.type = IomapType::mapped, .shared = true}}) {
    rig_.file.map(0, 16384, 0);
    rig_.file.map(12288, 4096, 12288, block);
    faulty_.fail(BioOp::write, 3, IoResult::host_failure(EIO));
    EXPECT_EQ(rig_.write(0, buffer_.span()), IoResult::host_failure(EIO));
    ASSERT_EQ(rig_.file.ended.size(), 1U);
    EXPECT_EQ(rig_.file.ended[0].end.unwritten, !block.shared);
    expect_ended_with(IoResult::host_failure(EIO));
  }
}

// The padding before the data is part of the first bio: nothing of the request precedes it.
TEST_F(DioFailure, CountsNoPaddingAsTransferred) {
  rig_.file.map(0, 8192, 0, IomapType::unwritten);
  faulty_.fail(BioOp::write, 1, IoResult::host_failure(EIO));
  EXPECT_EQ(rig_.write(512, buffer_.span().first(512)), IoResult::host_failure(EIO));
}

// --- the mapper says no ---

TEST_F(DioFailure, OfTheFirstMappingSubmitsNothing) {
  rig_.file.on_begin = [](const IomapRequest&) { return IoResult::failure(Errc::no_space); };
  EXPECT_EQ(rig_.write(0, buffer_.span()), IoResult::failure(Errc::no_space));
  EXPECT_EQ(rig_.routed, failed_in_submit);
  EXPECT_EQ(faulty_.counts(), FaultCounts{});
  ASSERT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_EQ(rig_.file.ended[0].end,
            (DioEnd{.offset = 0, .bytes = 16384, .result = IoResult::failure(Errc::no_space)}));
  EXPECT_EQ(rig_.file.ended[0].context, Context::task);
  EXPECT_EQ(rig_.file.inflight.count(), 0U);
}

TEST_F(DioFailure, OfALaterMappingSubmitsNothingEither) {
  // Room for one request's bios and no more: those already built must go back to the pool.
  rig_.issuer = make_issuer({.dios_initial = 1, .bios_initial = 2});
  rig_.file.map(8192, 4096, 65536);
  rig_.file.on_begin = [](const IomapRequest& asked) {
    return asked.offset < 8192 ? IoResult{}
                               : IoResult::failure(Errc::no_space, IoDetail::metadata_area_full);
  };
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(rig_.write(0, buffer_.span()),
              IoResult::failure(Errc::no_space, IoDetail::metadata_area_full));
    EXPECT_EQ(rig_.read(0, buffer_.span()),
              IoResult::failure(Errc::no_space, IoDetail::metadata_area_full));
  }
  EXPECT_EQ(faulty_.counts(), FaultCounts{});
  EXPECT_EQ(rig_.file.ended.size(), 6U);
  EXPECT_EQ(rig_.issuer->stats().pool_growths, 0U);
}

TEST_F(DioFailure, OfASynchronousCallersMappingIsReturnedAtOnce) {
  rig_.file.on_begin = [](const IomapRequest&) { return IoResult::failure(Errc::would_block); };
  EXPECT_EQ(rig_.write_sync_caller(0, buffer_.span()), IoResult::failure(Errc::would_block));
  EXPECT_EQ(rig_.routed, failed_in_submit);
  EXPECT_EQ(rig_.file.ended.size(), 1U);
}

TEST_F(DioFailure, OfASynchronousCallersBioIsSettledByTheWaiter) {
  faulty_.fail(BioOp::write, 2, IoResult::host_failure(EIO));
  EXPECT_EQ(rig_.write_sync_caller(0, buffer_.span()), IoResult::host_failure(EIO, 4096));
  EXPECT_EQ(rig_.routed, (RouteDecision{Route::waiter, RouteReason::sync_caller}));
  ASSERT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_EQ(rig_.file.ended[0].context, Context::task);
}

// --- the file has the last word ---

TEST_F(DioFailure, TakesTheResultThatEndIoReturns) {
  rig_.file.on_end_io = [](Kiocb&, const DioEnd& end) {
    return end.result.ok() ? IoResult::failure(Errc::poisoned, IoDetail::none, 1)
                           : IoResult::success(5);
  };
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::failure(Errc::poisoned, IoDetail::none, 1));
  faulty_.fail(BioOp::read, 1, IoResult::host_failure(EIO));
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::success(5));
}

using DioFailureDeathTest = DioFailure;

TEST_F(DioFailureDeathTest, OfAMapperThatAnswersForAnotherOffsetIsAProgrammersError) {
  struct WrongMapper final : IomapOps {
    IoResult iomap_begin(Kiocb&, const IomapRequest& asked, Iomap* iomap) noexcept override {
      *iomap =
          Iomap{.offset = asked.offset + asked.length, .length = 4096, .type = IomapType::mapped};
      return {};
    }
    [[nodiscard]] std::uint32_t fs_block_bytes() const noexcept override { return 4096; }
  } mapper;
  struct Ops final : DioOps {
    Outcome end_io(Kiocb&, const DioEnd& end) noexcept override { return end.result; }
    Outcome write_sync(Kiocb&, const DioEnd& end) noexcept override { return end.result; }
    [[nodiscard]] bool is_extending(std::uint64_t) const noexcept override { return false; }
    [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return 16384; }
  } ops;
  Kiocb kiocb;
  kiocb.issuer = rig_.issuer.get();
  kiocb.ki_flags = KiocbFlags::direct;
  const iovec segment{buffer_.data(), 4096};
  const DioRequest request{.device = &device_, .iomap_ops = &mapper, .dio_ops = &ops};
  EXPECT_DEATH(static_cast<void>(dio_rw(kiocb, IovView{&segment, 1}, request)),
               "iomap_begin answers with a mapping that contains the offset asked for");
}

TEST_F(DioFailureDeathTest, OfAnInlineEndIoThatIsNotFinalIsAProgrammersError) {
  rig_.file.on_end_io = [](Kiocb&, const DioEnd&) -> Outcome { return NotFinal{}; };
  EXPECT_DEATH(static_cast<void>(rig_.read(0, buffer_.span())),
               "a request that is settled inline needs no continuation");
}

}  // namespace
}  // namespace handback::testing
