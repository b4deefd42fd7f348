// The route and reason that are recorded on each kind of request, and where end_io ran.
#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

class DioRoute : public ::testing::Test {
 protected:
  DioRoute() {
    rig_.file.map(0, 16384, 0);
    rig_.file.size = 16384;
  }
  RouteDecision write(std::uint64_t offset, std::size_t length,
                      KiocbFlags flags = KiocbFlags::none) {
    EXPECT_EQ(rig_.write(offset, buffer_.span().first(length), flags),
              IoResult::success(static_cast<std::uint32_t>(length)));
    return rig_.routed;
  }
  [[nodiscard]] Context settled_in() const { return rig_.file.ended.back().context; }

  FakeRig rig_;
  AlignedBuffer buffer_ = random_buffer(16384, 1);
};

constexpr RouteDecision for_extending{Route::issuer, RouteReason::extending};

TEST_F(DioRoute, OfAnExtensionIsTheIssuer) {
  rig_.file.map(16384, 16384, 16384);
  EXPECT_EQ(write(16384, 512), for_extending);
  EXPECT_EQ(settled_in(), Context::issuer);
  EXPECT_EQ(rig_.file.size.load(), 16896U);
}

// By the end offset: the kernel looked at the start once, and settled straddling writes too early.
TEST_F(DioRoute, OfAWriteThatStraddlesTheEndIsAnExtension) {
  rig_.file.size = 4608;
  EXPECT_EQ(write(4096, 512), overwrite_inline);
  EXPECT_EQ(settled_in(), Context::device);
  EXPECT_EQ(write(4096, 1024), for_extending);
  EXPECT_EQ(rig_.file.size.load(), 5120U);
  EXPECT_EQ(write(4096, 1024), overwrite_inline);
}

TEST_F(DioRoute, OfAWriteThatEndsInsideTheLastBlocksBytesIsByTheExactSize) {
  rig_.file.size = 4095;
  EXPECT_EQ(write(0, 4096), for_extending);
  rig_.file.size = 4096;
  EXPECT_EQ(write(0, 4096), overwrite_inline);
}

// As of now, not as of submission: another request has made the file longer, or shorter, meanwhile.
TEST_F(DioRoute, LooksAtTheSizeWhenTheBiosHaveEnded) {
  rig_.device.hold(true);
  const auto routed_after = [&](std::uint64_t size_at_submit, std::uint64_t size_at_end) {
    rig_.file.size = size_at_submit;
    TestAiocb aiocb;
    aiocb.prepare_write_of(rig_.file, 4096, buffer_.span().first(4096));
    rig_.issuer->submit(aiocb);
    rig_.file.size = size_at_end;
    rig_.device.end_all_in_poll();
    EXPECT_EQ(rig_.issuer->wait(), 1U);
    return RouteDecision{aiocb.route, aiocb.route_reason};
  };
  EXPECT_EQ(routed_after(0, 8192), overwrite_inline);
  EXPECT_EQ(routed_after(8192, 8191), for_extending);
}

TEST_F(DioRoute, OfUnwrittenNewAndSharedBlocksIsTheIssuer) {
  rig_.file.map(0, 4096, 0, IomapType::unwritten);
  EXPECT_EQ(write(0, 4096), (RouteDecision{Route::issuer, RouteReason::unwritten}));
  EXPECT_EQ(settled_in(), Context::issuer);
  EXPECT_EQ(write(0, 4096), overwrite_inline);
  rig_.file.map(0, 4096, 0, FakeBlock{.type = IomapType::mapped, .new_extent = true});
  EXPECT_EQ(write(0, 4096), (RouteDecision{Route::issuer, RouteReason::new_extent}));
  EXPECT_EQ(settled_in(), Context::issuer);
  rig_.file.map(0, 4096, 0, FakeBlock{.type = IomapType::mapped, .shared = true});
  EXPECT_EQ(write(0, 4096), (RouteDecision{Route::issuer, RouteReason::shared}));
  EXPECT_EQ(settled_in(), Context::issuer);
}

TEST_F(DioRoute, OfAMixedWriteIsDecidedByAnyOfItsMappings) {
  rig_.file.map(8192, 4096, 8192, IomapType::unwritten);
  EXPECT_EQ(write(0, 16384), (RouteDecision{Route::issuer, RouteReason::unwritten}));
  EXPECT_EQ(write(0, 16384), overwrite_inline);
}

TEST_F(DioRoute, NamesTheFirstReasonOfSeveral) {
  rig_.file.map(0, 4096, 0, IomapType::unwritten);
  rig_.file.size = 0;
  EXPECT_EQ(write(0, 4096, KiocbFlags::dsync), for_extending);
}

TEST_F(DioRoute, OfASynchronousCallerIsTheWaiterWhateverItWrote) {
  for (const FakeBlock& block :
       {FakeBlock{.type = IomapType::mapped}, FakeBlock{.type = IomapType::unwritten},
        FakeBlock{.type = IomapType::mapped, .shared = true}}) {
    rig_.file.map(0, 4096, 0, block);
    rig_.file.size = 0;
    EXPECT_EQ(rig_.write_sync_caller(0, buffer_.span().first(4096), KiocbFlags::dsync),
              IoResult::success(4096));
    EXPECT_EQ(rig_.routed, (RouteDecision{Route::waiter, RouteReason::sync_caller}));
    EXPECT_EQ(settled_in(), Context::task);
  }
}

TEST_F(DioRoute, IsCountedByTheIssuer) {
  EXPECT_EQ(write(0, 4096), overwrite_inline);
  EXPECT_EQ(rig_.read(0, buffer_.span()), IoResult::success(16384));
  EXPECT_EQ(rig_.read(16384, buffer_.span()), IoResult::success(0));
  rig_.file.size = 0;
  EXPECT_EQ(write(0, 512), for_extending);
  const IssuerStats& stats = rig_.issuer->stats();
  EXPECT_EQ(stats.by_route[static_cast<unsigned>(Route::inline_)], 2U);
  EXPECT_EQ(stats.by_route[static_cast<unsigned>(Route::submit)], 1U);
  EXPECT_EQ(stats.by_route[static_cast<unsigned>(Route::issuer)], 1U);
  EXPECT_EQ(stats.by_reason[static_cast<unsigned>(RouteReason::pure_overwrite)], 1U);
  EXPECT_EQ(stats.by_reason[static_cast<unsigned>(RouteReason::read_ok)], 1U);
  EXPECT_EQ(stats.by_reason[static_cast<unsigned>(RouteReason::submit_ended)], 1U);
  EXPECT_EQ(stats.by_reason[static_cast<unsigned>(RouteReason::extending)], 1U);
}

// What an async request leaves in its Kiocb once it is over.
TEST_F(DioRoute, LeavesNoHandlerAndNoCookieBehind) {
  for (const bool extending : {false, true}) {
    rig_.file.size = extending ? 0 : 16384;
    Aiocb aiocb;
    aiocb.prepare_write(rig_.file, 0, buffer_.span());
    EXPECT_EQ(rig_.run(aiocb), IoResult::success(16384));
    EXPECT_EQ(aiocb.dio_complete(), nullptr);
    EXPECT_EQ(aiocb.private_, nullptr);
  }
}

TEST_F(DioRoute, SettlesNothingBeforeTheIssuerPolls) {
  rig_.file.size = 0;
  TestAiocb aiocb;
  aiocb.prepare_write_of(rig_.file, 0, buffer_.span());
  rig_.issuer->submit(aiocb);
  EXPECT_TRUE(rig_.file.ended.empty());
  EXPECT_EQ(rig_.file.inflight.count(), 1U);
  EXPECT_EQ(rig_.issuer->poll(), 1U);
  EXPECT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_EQ(rig_.file.inflight.count(), 0U);
}

}  // namespace
}  // namespace handback::testing
