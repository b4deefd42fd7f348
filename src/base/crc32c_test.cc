#include "base/crc32c.h"

#include <array>
#include <string_view>

#include "base/base_test_support.h"

namespace handback::testing {
namespace {

std::uint32_t crc32c_of(std::string_view text) {
  return crc32c(std::as_bytes(std::span(text.data(), text.size())));
}

// The definition, bit by bit.
std::uint32_t crc32c_by_definition(std::span<const std::byte> bytes) {
  std::uint32_t state = ~0U;
  for (const std::byte byte : bytes) {
    state ^= static_cast<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit)
      state = (state >> 1) ^ ((state & 1) != 0 ? 0x82f63b78U : 0U);
  }
  return ~state;
}

TEST(Crc32c, GivesTheCheckValueOfThePolynomial) {
  EXPECT_EQ(crc32c_of("123456789"), 0xe3069283U);
}

// RFC 3720, B.4.
TEST(Crc32c, GivesTheVectorsOfTheIscsiStandard) {
  std::array<std::byte, 32> bytes{};
  EXPECT_EQ(crc32c(bytes), 0x8a9136aaU);
  bytes.fill(std::byte{0xff});
  EXPECT_EQ(crc32c(bytes), 0x62a8ab43U);
  for (unsigned i = 0; i < 32; ++i)
    bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(bytes), 0x46dd794eU);
  for (unsigned i = 0; i < 32; ++i)
    bytes[i] = static_cast<std::byte>(31 - i);
  EXPECT_EQ(crc32c(bytes), 0x113fdb5cU);
}

TEST(Crc32c, OfNothingIsTheSeed) {
  EXPECT_EQ(crc32c({}), 0U);
  EXPECT_EQ(crc32c({}, 0xe3069283U), 0xe3069283U);
}

TEST(Crc32c, ContinuesFromASeedWhereverTheBytesAreCut) {
  const std::vector<std::byte> bytes = random_bytes(300, 1);
  const std::span<const std::byte> all(bytes);
  const std::uint32_t whole = crc32c(all);
  for (std::size_t cut = 0; cut <= all.size(); ++cut) {
    ASSERT_EQ(crc32c(all.subspan(cut), crc32c(all.first(cut))), whole) << cut;
  }
}

TEST(Crc32c, AgreesWithTheDefinitionForEveryStartAndLength) {
  const std::vector<std::byte> bytes = random_bytes(160, announce_seed());
  const std::span<const std::byte> all(bytes);
  for (std::size_t start = 0; start < 17; ++start) {
    for (std::size_t length = 0; length <= 140; ++length) {
      const auto part = all.subspan(start, length);
      ASSERT_EQ(crc32c(part), crc32c_by_definition(part)) << start << '+' << length;
    }
  }
}

TEST(Crc32c, NoticesEverySingleFlippedBit) {
  std::vector<std::byte> bytes = random_bytes(512, 2);
  const std::uint32_t right = crc32c(bytes);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const std::byte flip{static_cast<unsigned char>(1U << (bit % 8))};
    bytes[bit / 8] ^= flip;
    ASSERT_NE(crc32c(bytes), right) << bit;
    bytes[bit / 8] ^= flip;
  }
}

}  // namespace
}  // namespace handback::testing
