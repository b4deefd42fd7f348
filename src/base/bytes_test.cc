#include "base/bytes.h"

#include <limits>
#include <string>

#include "base/base_test_support.h"

namespace handback::testing {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<unsigned> values) {
  std::vector<std::byte> bytes;
  for (const unsigned value : values)
    bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST(ByteWriter, WritesIntegersWithTheLeastByteFirst) {
  std::vector<std::byte> out = bytes_of({0xaa});
  ByteWriter writer(out);
  writer.put(std::uint8_t{0x01});
  writer.put(std::uint16_t{0x0203});
  writer.put(std::uint32_t{0x04050607});
  writer.put(std::uint64_t{0x08090a0b0c0d0e0f});
  EXPECT_EQ(out, bytes_of({0xaa, 0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d, 0x0c,
                           0x0b, 0x0a, 0x09, 0x08}));
}

TEST(ByteWriter, WritesAStringAsItsLengthIn16BitsAndItsBytes) {
  std::vector<std::byte> out;
  ByteWriter writer(out);
  writer.put_string("ab");
  writer.put_string("");
  EXPECT_EQ(out, bytes_of({2, 0, 'a', 'b', 0, 0}));
}

TEST(ByteReader, ReadsBackWhatWasWritten) {
  const std::string longest(65535, 'x');
  std::vector<std::byte> out;
  ByteWriter writer(out);
  writer.put(std::numeric_limits<std::int64_t>::min());
  writer.put_string(longest);
  writer.put_string(std::string_view("a\0b", 3));
  writer.put(std::uint8_t{255});

  ByteReader reader(out);
  EXPECT_EQ(reader.get<std::int64_t>(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(reader.position(), 8U);
  EXPECT_EQ(reader.get_string(), longest);
  EXPECT_EQ(reader.get_string(), std::string_view("a\0b", 3));
  EXPECT_EQ(reader.remaining(), 1U);
  EXPECT_EQ(reader.get<std::uint8_t>(), 255U);
  EXPECT_EQ(reader.remaining(), 0U);
  EXPECT_TRUE(reader.ok());
}

TEST(ByteReader, GivesZerosForGoodAfterTheFirstReadPastTheEnd) {
  const std::vector<std::byte> bytes = bytes_of({1, 2, 3, 4, 5});
  ByteReader reader(bytes);
  EXPECT_EQ(reader.get<std::uint32_t>(), 0x04030201U);
  EXPECT_EQ(reader.get<std::uint16_t>(), 0U);  // One byte is left.
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.get<std::uint8_t>(), 0U);  // Would have fitted.
  EXPECT_EQ(reader.get_string(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(ByteReader, RefusesAStringThatClaimsMoreThanThereIs) {
  const std::vector<std::byte> exact = bytes_of({3, 0, 'a', 'b', 'c'});
  ByteReader fits(exact);
  EXPECT_EQ(fits.get_string(), "abc");
  EXPECT_TRUE(fits.ok());

  for (const auto& bytes : {bytes_of({4, 0, 'a', 'b', 'c'}), bytes_of({0xff, 0xff, 'a'}),
                            bytes_of({1, 0}), bytes_of({0})}) {
    ByteReader reader(bytes);
    EXPECT_EQ(reader.get_string(), "");
    EXPECT_FALSE(reader.ok());
  }
}

TEST(ByteReader, OfNothingIsGoodUntilItIsRead) {
  ByteReader reader({});
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0U);
  EXPECT_EQ(reader.get<std::uint8_t>(), 0U);
  EXPECT_FALSE(reader.ok());
}

// The sanitizers see a read outside: every buffer is exactly as long as it says.
TEST(ByteReader, NeverLeavesTheBytesHoweverTheyAreRead) {
  std::mt19937_64 random(announce_seed());
  for (int round = 0; round < 500; ++round) {
    const std::vector<std::byte> bytes = random_bytes(random() % 40, random());
    ByteReader reader(bytes);
    std::size_t position = 0;
    for (int step = 0; step < 20; ++step) {
      switch (random() % 4) {
        case 0:
          reader.get<std::uint8_t>();
          break;
        case 1:
          reader.get<std::uint32_t>();
          break;
        case 2:
          reader.get<std::uint64_t>();
          break;
        default: {
          const std::string_view text = reader.get_string();
          volatile char last = text.empty() ? '\0' : text.back();
          static_cast<void>(last);
          break;
        }
      }
      ASSERT_LE(position, reader.position());
      ASSERT_EQ(reader.position() + reader.remaining(), bytes.size());
      position = reader.position();
    }
  }
}

}  // namespace
}  // namespace handback::testing
