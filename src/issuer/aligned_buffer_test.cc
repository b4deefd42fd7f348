#include <handback/issuer.h>

#include <algorithm>
#include <utility>

#include "base/base_test_support.h"

namespace handback::testing {
namespace {

static_assert(!std::is_copy_constructible_v<AlignedBuffer>);

TEST(AlignedBuffer, IsAlignedZeroAndRoundedUpToBlocksOf4096) {
  for (const auto& [asked, given] : {std::pair<std::size_t, std::size_t>{1, 4096},
                                     {4095, 4096},
                                     {4096, 4096},
                                     {4097, 8192},
                                     {1 << 20, 1 << 20}}) {
    const AlignedBuffer buffer(asked);
    EXPECT_EQ(buffer.size(), given);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 4096, 0U);
    const auto bytes = buffer.span();
    EXPECT_EQ(bytes.data(), buffer.data());
    EXPECT_EQ(bytes.size(), given);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(),
                            [](std::byte byte) { return byte == std::byte{0}; }));
  }
}

TEST(AlignedBuffer, OfNothingHoldsNoMemory) {
  EXPECT_EQ(AlignedBuffer().data(), nullptr);
  EXPECT_EQ(AlignedBuffer(0).data(), nullptr);
  EXPECT_EQ(AlignedBuffer(0).size(), 0U);
}

TEST(AlignedBuffer, MovesItsMemory) {
  AlignedBuffer first(4096);
  std::byte* const memory = first.data();
  AlignedBuffer second(std::move(first));
  EXPECT_EQ(second.data(), memory);
  EXPECT_EQ(first.data(), nullptr);  // NOLINT(bugprone-use-after-move): what is left is defined.
  EXPECT_EQ(first.size(), 0U);
  AlignedBuffer third(8192);
  third = std::move(second);
  EXPECT_EQ(third.data(), memory);
  EXPECT_EQ(third.size(), 4096U);
}

}  // namespace
}  // namespace handback::testing
