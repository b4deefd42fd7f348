// Goal: a size covers no bytes that are on their way. Method: writes that make a file longer, ended
// in every order that matters.
#include "dio/dio_test_support.h"

namespace handback::testing {
namespace {

constexpr int eio = 5;

class PublishOrder : public ::testing::Test {
 protected:
  PublishOrder() {
    rig_.file.in_order = true;
    rig_.file.map(0, 16384, 0);
    rig_.device.hold(true);
  }
  void submit(std::size_t index, std::uint64_t offset, std::size_t length) {
    requests_[index].prepare_write(rig_.file, offset, data_.span().first(length));
    rig_.issuer->submit(requests_[index]);
  }
  // Ends the `index`-th oldest bio that is held. Returns the size after that.
  std::uint64_t size_after_end(std::size_t index, IoResult fault = IoResult::success(0)) {
    rig_.device.end_in_poll(index, fault);
    rig_.issuer->poll();
    rig_.issuer->poll();
    return rig_.file.size.load();
  }
  // The offsets of end_io so far, in its order.
  [[nodiscard]] std::vector<std::uint64_t> ended() const {
    std::vector<std::uint64_t> offsets;
    for (const auto& call : rig_.file.ended)
      offsets.push_back(call.end.offset);
    return offsets;
  }

  FakeRig rig_;
  AlignedBuffer data_ = random_buffer(16384, 1);
  std::array<TestAiocb, 4> requests_;
};

TEST_F(PublishOrder, AWriteThatEndsFirstWaitsForThoseItStandsBehind) {
  submit(0, 0, 4096);
  submit(1, 4096, 4096);
  submit(2, 8192, 4096);
  EXPECT_EQ(size_after_end(2), 0U);
  EXPECT_EQ(size_after_end(1), 0U);
  EXPECT_EQ(rig_.issuer->in_flight(), 3U);
  EXPECT_EQ(size_after_end(0), 12288U);
  EXPECT_EQ(ended(), (std::vector<std::uint64_t>{0, 4096, 8192}));
  EXPECT_EQ(rig_.issuer->in_flight(), 0U);
}

TEST_F(PublishOrder, OneBelowALongerOneInFlightWaitsForWhatItStandsBehindToo) {
  submit(0, 0, 4096);
  submit(1, 8192, 8192);
  submit(2, 4096, 4096);
  EXPECT_EQ(size_after_end(2), 0U);
  EXPECT_EQ(size_after_end(0), 8192U);
  EXPECT_EQ(size_after_end(0), 16384U);
}

TEST_F(PublishOrder, OneThatEnteredLaterAndBeginsBelowIsNotWaitedFor) {
  submit(0, 4096, 4096);
  submit(1, 0, 4096);
  EXPECT_EQ(size_after_end(0), 8192U);
  EXPECT_EQ(size_after_end(0), 8192U);
}

TEST_F(PublishOrder, ThoseBehindAFailedOneLearnOfTheGapAndOthersDoNot) {
  submit(0, 0, 4096);
  submit(1, 4096, 4096);
  submit(2, 8192, 4096);
  size_after_end(2);
  size_after_end(0);
  size_after_end(0, IoResult::host_failure(eio));
  ASSERT_EQ(rig_.file.ended.size(), 3U);
  EXPECT_FALSE(rig_.file.ended[0].end.behind_gap);
  EXPECT_EQ(rig_.file.ended[1].end.result.code(), Errc::io);
  EXPECT_TRUE(rig_.file.ended[2].end.behind_gap);
}

constexpr IoResult unprepared = IoResult::failure(Errc::would_block, IoDetail::gap_unprepared);

TEST_F(PublishOrder, AWriteBehindAGapThatIsNotPreparedEndsBeforeAnythingOfItHasBegun) {
  rig_.file.gap_is_unprepared = true;
  submit(0, 4096, 4096);
  rig_.issuer->poll();
  ASSERT_EQ(rig_.issuer->in_flight(), 0U);
  EXPECT_EQ(requests_[0].result, unprepared);
  EXPECT_TRUE(rig_.file.ended.empty());
  EXPECT_TRUE(rig_.file.begun.empty());
  EXPECT_EQ(rig_.file.inflight.count(), 0U);
  // There is no gap before these.
  submit(0, 0, 4096);
  requests_[1].prepare_write(rig_.file, 0, data_.span().first(4096), KiocbFlags::append);
  rig_.issuer->submit(requests_[1]);
  EXPECT_EQ(size_after_end(0), 4096U);
  EXPECT_EQ(size_after_end(0), 8192U);
}

TEST_F(PublishOrder, AWriteOfAFileThatHasGotAPageCacheEndsBeforeAnythingOfItHasBegun) {
  rig_.file.has_cache = true;
  submit(0, 0, 4096);
  rig_.issuer->poll();
  ASSERT_EQ(rig_.issuer->in_flight(), 0U);
  EXPECT_EQ(requests_[0].result, IoResult::failure(Errc::would_block, IoDetail::file_is_cached));
  EXPECT_TRUE(rig_.file.ended.empty());
  EXPECT_TRUE(rig_.file.begun.empty());
  EXPECT_EQ(rig_.file.inflight.count(), 0U);
  // With what it holds there it goes on, and gets that back at its end.
  int held = 0;
  rig_.file.hold = &held;
  submit(0, 0, 4096);
  EXPECT_EQ(size_after_end(0), 4096U);
  ASSERT_EQ(rig_.file.ended.size(), 1U);
  EXPECT_EQ(rig_.file.ended[0].end.hold, &held);
}

// Whoever makes the file shorter says so before it lets go of the range: a write that comes in
// between must not stand in line with what it knew before.
TEST_F(PublishOrder, AGapIsAskedForAsTheWriteEntersAlsoWhereItWouldStandInLine) {
  {
    const DioInflight::Drain drain(rig_.file.inflight, *rig_.issuer, 0, 16384);
    submit(0, 8192, 4096);
    rig_.file.gap_is_unprepared = true;
    submit(1, 4096, 4096);
    rig_.issuer->poll();
    EXPECT_EQ(requests_[1].result, unprepared);
    EXPECT_EQ(rig_.issuer->in_flight(), 1U);
  }
  rig_.issuer->poll();
  EXPECT_EQ(size_after_end(0), 12288U);
}

}  // namespace
}  // namespace handback::testing
