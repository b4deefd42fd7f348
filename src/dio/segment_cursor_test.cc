#include "dio/segment_cursor.h"

#include <array>
#include <string>

#include "base/base_test_support.h"

namespace handback::testing {
namespace {

// Three pieces of one text, with nothing between, before and after them.
class SegmentCursorTest : public ::testing::Test {
 protected:
  SegmentCursorTest()
      : segments_{{{text_.data(), 0},
                   {text_.data(), 3},
                   {text_.data() + 3, 0},
                   {text_.data() + 3, 4},
                   {text_.data() + 7, 3},
                   {text_.data() + 10, 0}}} {}

  [[nodiscard]] IovView iov() const {
    return {segments_.data(), static_cast<std::uint32_t>(segments_.size())};
  }
  static std::string text_of(const iovec& piece) {
    return {static_cast<const char*>(piece.iov_base), piece.iov_len};
  }

  std::string text_ = "abcdefghij";
  std::array<iovec, 6> segments_;
};

TEST_F(SegmentCursorTest, GivesPiecesThatEndWithTheirSegment) {
  SegmentCursor cursor(iov());
  EXPECT_EQ(text_of(cursor.take(10)), "abc");
  EXPECT_EQ(text_of(cursor.take(7)), "defg");
  EXPECT_EQ(text_of(cursor.take(3)), "hij");
}

TEST_F(SegmentCursorTest, GivesNoMoreThanAskedFor) {
  SegmentCursor cursor(iov());
  EXPECT_EQ(text_of(cursor.take(2)), "ab");
  EXPECT_EQ(text_of(cursor.take(2)), "c");
  EXPECT_EQ(text_of(cursor.take(1)), "d");
  EXPECT_EQ(text_of(cursor.take(3)), "efg");
  EXPECT_EQ(text_of(cursor.take(3)), "hij");
}

TEST_F(SegmentCursorTest, ZeroesAcrossSegmentsAndNotAByteMore) {
  SegmentCursor cursor(iov());
  cursor.skip(2);
  cursor.zero(6);
  EXPECT_EQ(text_, std::string("ab\0\0\0\0\0\0ij", 10));
  EXPECT_EQ(text_of(cursor.take(9)), "ij");
}

TEST_F(SegmentCursorTest, SkipsAndZeroesNothingWhereNothingIsLeft) {
  SegmentCursor cursor(iov());
  cursor.skip(0);
  cursor.zero(0);
  cursor.skip(10);
  cursor.skip(0);
  cursor.zero(0);
  EXPECT_EQ(text_, "abcdefghij");
}

TEST(ZeroBlock, IsZeroAndAlignedForEveryDevice) {
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(zero_block) % 4096, 0U);
  for (const std::byte byte : zero_block)
    ASSERT_EQ(byte, std::byte{0});
}

}  // namespace
}  // namespace handback::testing
